// ws on Node, as its documentation has it: `node server.js echo|broadcast --listen ADDRESS:PORT`.
"use strict";

const { WebSocket, WebSocketServer } = require("ws");

const [mode, flag, address] = process.argv.slice(2);
if (!["echo", "broadcast"].includes(mode) || flag !== "--listen" || !address) {
  console.error("usage: node server.js echo|broadcast --listen ADDRESS:PORT");
  process.exit(2);
}
const [host, port] = address.split(":");
// `perMessageDeflate` is off by default, as it is in all the others.
const server = new WebSocketServer({ host, port: Number(port), backlog: 4096 });

server.on("listening", () => console.log(`listening on ${address} pid ${process.pid}`));
server.on("connection", (socket) => {
  socket.on("error", () => {});
  socket.on("message", (data, binary) => {
    if (mode === "echo") {
      socket.send(data, { binary });
      return;
    }
    for (const client of server.clients) {
      if (client.readyState === WebSocket.OPEN) {
        client.send(data, { binary });
      }
    }
  });
});
