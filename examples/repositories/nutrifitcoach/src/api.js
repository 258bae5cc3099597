// Stands for the API.
const { createServer } = require("node:http");

const server = createServer((request, response) => {
  response.writeHead(request.url === "/health" ? 200 : 404).end();
});

if (require.main === module) {
  server.listen(3000);
}

module.exports = { server };
