// Stands for the application's tests.
const assert = require("node:assert");
const { test } = require("node:test");
const { server } = require("../src/api.js");

test("the API tells its health", async () => {
  await new Promise((ready) => server.listen(0, ready));
  const answer = await fetch(`http://127.0.0.1:${server.address().port}/health`);
  server.close();
  assert.strictEqual(answer.status, 200);
});
