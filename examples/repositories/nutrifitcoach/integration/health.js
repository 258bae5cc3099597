// Stands for the integration tests: they ask staging.
const assert = require("node:assert");
const { test } = require("node:test");

test("staging is well", async () => {
  const answer = await fetch(`${process.env.BASE_URL}/health`);
  assert.strictEqual(answer.status, 200);
});
