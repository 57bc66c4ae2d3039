// A hub with Node's ws. It reads events from a unix socket, one a line. A line "?" is answered with the number of dropped
// messages, which is 0: ws queues without bound.
//
// Arguments: the path of the unix socket; then, for TLS, the files of the certificate and of its key.
"use strict";

const fs = require("fs");
const http = require("http");
const https = require("https");
const net = require("net");
const { WebSocketServer } = require("ws");

const [path, cert, key] = process.argv.slice(2);
const server = cert
    ? https.createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key), minVersion: "TLSv1.3" })
    : http.createServer();
const sockets = new WebSocketServer({ server, path: "/ws", perMessageDeflate: false });
sockets.on("connection", (socket) => socket.on("error", () => socket.terminate()));

function broadcast(message) {
    for (const client of sockets.clients) client.send(message, { binary: false });
}

net.createServer((source) => {
    let held = Buffer.alloc(0);
    source.on("data", (data) => {
        held = held.length ? Buffer.concat([held, data]) : data;
        for (let end = held.indexOf(10); end >= 0; end = held.indexOf(10)) {
            const line = held.subarray(0, end);
            held = held.subarray(end + 1);
            if (line.length === 1 && line[0] === 63) source.write("0\n");
            else broadcast(line);
        }
    });
}).listen(path);

server.listen(0, "127.0.0.1", () => console.log("listening on", server.address().port));
setInterval(() => sockets.clients.forEach((client) => client.ping()), 54000);
