// Loaded before Portkey's gateway (peers.py), for two things that it has no option for.

// It listens on every address: here on 127.0.0.1 only.
const { Server } = require("node:net");
const listen = Server.prototype.listen;
Server.prototype.listen = function (first, ...rest) {
  const done = rest.filter((each) => typeof each === "function");
  const port = typeof first === "object" && first !== null ? first.port : first;
  return listen.call(this, { port: Number(port), host: "127.0.0.1" }, ...done);
};

// It adds headers to what fetch gave it, which may not be changed: every stream would be a 500.
const { fetch: plain, Response: Plain } = globalThis;
globalThis.fetch = async (...asked) => {
  const { body, status, statusText, headers } = await plain(...asked);
  return new Plain(body, { status, statusText, headers: new Headers(headers) });
};
