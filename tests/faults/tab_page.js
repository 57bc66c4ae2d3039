// What the pages of test_tabs.py do: they connect, note what they are told, and trace what they receive and send.
window.noted = [];
window.trace = [];
window.fetchToken = window.token;
window.truePost = window.post = BroadcastChannel.prototype.postMessage;

window.note = (...entry) => {
  window.trace.push([Math.floor(performance.now()), ...entry].join(" "));
  if (window.trace.length > 400) window.trace.shift();
};

window.brief = ({ term, type, frame, to, at, status, messages, from, state }) =>
  [
    from.slice(0, 4),
    term % 1000000,
    type,
    `frame ${frame ?? "-"}`,
    to ? `to ${to.slice(0, 4)}` : "",
    at ? `at ${at.seq}` : "",
    status?.state ?? "",
    messages ? messages.map(({ type, seq }) => `${type}:${seq ?? ""}`).join() : "",
    state ? `position ${state.position?.seq}` : "",
  ].join(" ");

BroadcastChannel.prototype.postMessage = function (message) {
  note("post", brief(message));
  window.post.call(this, message);
};

window.trueHear = Object.getOwnPropertyDescriptor(BroadcastChannel.prototype, "onmessage").set;
Object.defineProperty(BroadcastChannel.prototype, "onmessage", {
  set(callback) {
    trueHear.call(this, (event) => {
      note("hear", brief(event.data));
      callback(event);
    });
  },
});

window.WebSocket = class extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols);
    note("socket", url);
    this.addEventListener("message", ({ data }) => {
      const { type, seq, payload, offline } = JSON.parse(data);
      const { from_seq: from = "", to_seq: to = "", reason = "" } = payload;
      note("receive", type, seq ?? payload.seq ?? "", offline ? "offline" : "", from, to, reason);
    });
    this.addEventListener("close", ({ code }) => note("closed", code));
  }
};

window.join = (url, heartbeat) => {
  window.client = library.connect(url, {
    token: (request) => window.token(request),
    heartbeat,
    log: (level, text) => noted.push(["log", level, text]),
  });
  client.on("event", ({ seq, id, user_id: user, offline, redelivered }) =>
    noted.push(["event", seq, id, user ?? null, Boolean(offline || redelivered)]),
  );
  client.on("rebuilt", ({ reason, detail }) =>
    noted.push(["rebuilt", client.store.seq, client.store.epoch, reason, detail]),
  );
  client.on("lost", (gap) => noted.push(["lost", gap]));
  client.on("status", ({ state, reason, leads }) => {
    note("status", state, leads ? "leads" : "");
    noted.push(["status", state, reason?.name, leads]);
  });
};
