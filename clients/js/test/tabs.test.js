import assert from "node:assert/strict";
import { test } from "node:test";
import { TokenRefused } from "../src/index.js";
import { Machine, flush } from "./machine.js";
import { token } from "./world.js";

/** Tabs, of which the first leads and is live. */
async function tabs(count, options = () => ({})) {
  const machine = new Machine();
  const made = [];
  for (let number = 0; number < count; number += 1) {
    made.push(machine.tab(`tab ${number}`, options(number)));
    await flush();
    if (!number) await machine.world.live();
    await flush();
  }
  return { machine, world: machine.world, made };
}

const seqs = ({ told }) => told.event.map(({ seq }) => seq);
const states = (made) => made.map(({ client }) => client.status.state);
const leads = (made) => made.map(({ client }) => client.status.leads);

test("one tab connects, and all are told the same", async () => {
  const { world, made } = await tabs(3);
  assert.equal(world.sockets.length, 1);
  assert.deepEqual(leads(made), [true, false, false]);
  assert.deepEqual(states(made), ["live", "live", "live"]);
  assert.deepEqual(made.map(({ client }) => client.status.shared), [3, 3, 3]);
  for (const seq of [11, 12, 12, 14]) world.event(seq);
  await flush();
  for (const tab of made) {
    assert.deepEqual(seqs(tab), [11, 12, 14]);
    assert.equal(tab.client.store.seq, 14);
    assert.deepEqual(tab.told.rebuilt, [{ reason: "start" }]);
    assert.equal(tab.client.identity.user_id, "ada");
  }
});

test("tabs with other tokens or subscriptions have sockets of their own", async () => {
  for (const other of [{ token: () => token({ sub: "eve" }) }, { token: () => token({ sid: "s2" }) }, { events: ["call.*"] }, { acknowledge: false }, { tabs: false }]) {
    const { world, made } = await tabs(2, (number) => (number ? other : {}));
    assert.equal(world.sockets.length, 2);
    assert.deepEqual(leads(made), [true, true]);
  }
});

test("when the leader leaves, another resumes at its own position", async () => {
  const { world, made } = await tabs(3);
  world.event(11);
  await flush();
  made[0].page.dispatchEvent(new Event("pagehide"));
  await flush();
  assert.deepEqual(leads(made.slice(1)), [true, false]);
  assert.equal(new URL(world.socket.url).searchParams.get("seq"), "11");
  assert.deepEqual(states(made.slice(1)), ["offline", "offline"]);
  world.socket.open();
  world.welcome(20);
  world.event(12);
  world.resumed(20);
  await flush();
  for (const tab of made.slice(1)) {
    assert.deepEqual(seqs(tab), [11, 12]);
    assert.deepEqual(tab.told.rebuilt, [{ reason: "start" }]);
    assert.equal(tab.client.status.state, "live");
    assert.equal(tab.client.status.shared, 2);
  }
});

test("a follower ahead of the new leader receives no event twice, one behind it receives the state", async () => {
  const { world, made } = await tabs(3);
  world.event(11);
  await flush();
  made[2].deaf = true;
  world.event(12);
  await flush();
  made[2].deaf = false;
  made[0].client.close();
  await flush();
  await world.live(12);
  await flush();
  world.event(13);
  await flush();
  assert.deepEqual(seqs(made[1]), [11, 12, 13]);
  assert.deepEqual(seqs(made[2]), [11, 13]);
  assert.deepEqual(made[2].told.rebuilt, [{ reason: "start" }, { reason: "taken_over" }]);
  assert.equal(made[2].client.store.seq, 13);
});

test("a tab that missed a frame asks for the state", async () => {
  const { world, made } = await tabs(2);
  made[1].deaf = true;
  world.event(11);
  await flush();
  made[1].deaf = false;
  world.event(12);
  await flush();
  assert.deepEqual(seqs(made[1]), []);
  assert.deepEqual(made[1].told.rebuilt, [{ reason: "start" }, { reason: "taken_over" }]);
  assert.equal(made[1].client.store.seq, 12);
  world.event(13);
  await flush();
  assert.deepEqual(seqs(made[1]), [13]);
});

test("a tab that joins during a replay waits for its end", async () => {
  const { machine, world, made } = await tabs(1);
  world.socket.end(1006);
  await world.pass(1000);
  world.socket.open();
  world.welcome(20);
  const late = machine.tab("late");
  await flush();
  world.event(15);
  await flush();
  assert.deepEqual([late.client.status.state, late.told.rebuilt.length], ["catching_up", 0]);
  world.resumed(20);
  await flush();
  assert.deepEqual([late.client.status.state, late.client.store.seq], ["live", 20]);
  assert.deepEqual(seqs(made[0]), [15]);
  assert.deepEqual(seqs(late), []);
});

test("a tab with a state that follows a leader without one reports the next snapshot as rebuilt", async () => {
  const { machine, world, made } = await tabs(2);
  world.socket.end(1006);
  await world.pass(1000);
  world.socket.open();
  world.welcome(20);
  const late = machine.tab("late");
  await flush();
  // It waits behind the one that has no state yet.
  made[1].page.dispatchEvent(new Event("pagehide"));
  made[1].page.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
  await flush();
  made[0].client.close();
  await flush();
  assert.deepEqual(leads([late, made[1]]), [true, false]);
  assert.equal(new URL(world.socket.url).searchParams.get("snapshot"), "1");
  world.socket.open();
  world.welcome(20);
  world.event(21);
  world.snapshot(21);
  world.event(22);
  await flush();
  assert.deepEqual(seqs(late), [22]);
  assert.deepEqual(seqs(made[1]), [22]);
  assert.deepEqual(made[1].told.rebuilt, [{ reason: "start" }, { reason: "taken_over" }]);
});

test("a silent leader is stale after seven seconds, and replaced after ten", async () => {
  const { world, made } = await tabs(3);
  made[0].silent = true;
  await world.pass(6000);
  assert.equal(made[1].client.status.state, "live");
  await world.pass(1000);
  assert.equal(made[1].client.status.state, "stale");
  assert.deepEqual(leads(made), [true, false, false]);
  await world.pass(3000);
  assert.equal(world.sockets.length, 1, "it is asked once more");
  await world.pass(1000);
  await flush();
  assert.equal(world.sockets.length, 2);
  assert.deepEqual(leads(made).filter(Boolean).length, 1);
  assert.equal(leads(made)[0], false);
  assert.equal(world.sockets[0].closedWith, 1000);
  made[0].silent = false;
  await world.live(10);
  world.event(11);
  await flush();
  for (const tab of made) assert.deepEqual(seqs(tab), [11]);
});

test("a leader that answers is not replaced, however silent the stream", async () => {
  const { world, made } = await tabs(3);
  for (let times = 0; times < 12; times += 1) {
    await world.pass(10000);
    world.socket.say("pong", { server_time: new Date(world.env.wall()).toISOString() });
  }
  await flush();
  assert.deepEqual([leads(made), states(made), world.sockets.length], [[true, false, false], ["live", "live", "live"], 1]);
});

test("after sleep a leader is given time to answer", async () => {
  const { world, made } = await tabs(2);
  made[0].silent = true;
  world.time += 3_600_000;
  await world.pass(1000);
  assert.equal(made[1].client.status.state, "live");
  made[0].silent = false;
  await world.pass(20000);
  assert.deepEqual(leads(made), [true, false]);
});

test("a wallboard keeps a leader alert that is not", async () => {
  const { world, made } = await tabs(2, (number) => (number ? { heartbeat: { idleMs: 2500, answerMs: 2500 } } : {}));
  await world.pass(5000);
  assert.ok(world.socket.sent.some(({ type }) => type === "ping"));
  await world.pass(5000);
  assert.deepEqual(states(made), ["offline", "offline"]);
});

test("tokens: the leader's own, then each other tab's after three seconds, the last seen by the user first", async () => {
  const asked = [];
  let answers = { "tab 2": () => token() };
  const { world, made } = await tabs(4, (number) => {
    let calls = 0;
    const name = `tab ${number}`;
    return { token: () => (++calls === 1 ? token() : (asked.push([name, world.time]), (answers[name] ?? (() => new Promise(() => {})))())) };
  });
  made[1].visible = made[3].visible = false;
  await world.pass(6000);
  made[2].client.probe();
  await flush();
  world.socket.say("pong", {});
  answers = { "tab 1": () => token() };
  world.socket.end(4005);
  const start = world.time;
  await world.pass(7000);
  assert.deepEqual(asked.map(([name, time]) => [name, time - start]), [["tab 0", 0], ["tab 2", 3000], ["tab 1", 6000]]);
  assert.equal(world.sockets.length, 2);
});

test("the user is signed out only if all tabs that answer say so", async () => {
  for (const [others, state] of [[[true, true], "stopped"], [[true, false], "live"]]) {
    let refuses = false;
    const { world, made } = await tabs(3, (number) => ({
      token: () => {
        if (refuses && (number === 0 || others[number - 1])) throw new TokenRefused("signed out here");
        return token();
      },
    }));
    await world.pass(6000);
    refuses = true;
    world.socket.end(4005);
    await flush();
    if (state === "live") await world.live(10);
    await flush();
    assert.deepEqual(states(made), [state, state, state]);
    if (state === "stopped") assert.equal(made[2].client.status.reason.text, "signed out here");
  }
});

test("a session that was ended by the gateway ends in all tabs, and none connects again", async () => {
  const { world, made } = await tabs(3);
  world.socket.end(4503);
  await flush();
  assert.deepEqual(states(made), ["stopped", "stopped", "stopped"]);
  assert.equal(made[2].client.status.reason.code, 4503);
  await world.pass(60000);
  assert.equal(world.sockets.length, 1);
  assert.equal(world.timers, 0);
});

test("signing out in any tab ends all; closing one does not", async () => {
  for (const at of [0, 1]) {
    const { world, made } = await tabs(3);
    made[at].client.signOut();
    await flush();
    assert.deepEqual(states(made), ["stopped", "stopped", "stopped"]);
    assert.equal(world.socket.closedWith, 1000);
    await world.pass(60000);
    assert.equal(world.sockets.length, 1);
  }
  const { world, made } = await tabs(3);
  made[0].client.close();
  await flush();
  await world.live(10);
  await flush();
  assert.deepEqual(states(made), ["stopped", "live", "live"]);
});

test("a request of a follower is sent by the leader, answered to it, and sent again by the next leader", async () => {
  const { world, made } = await tabs(3);
  const done = made[2].client.sendChat("s1", "hello");
  await flush();
  const [first] = world.socket.requests;
  assert.equal(first.payload.body, "hello");
  made[0].client.close();
  await flush();
  await world.live(10);
  await flush();
  const [second] = world.socket.requests;
  assert.deepEqual(second, first);
  world.socket.say("accepted", { message_id: "m" }, { in_reply_to: second.id });
  assert.deepEqual(await done, { message_id: "m" });
});

test("messages for the user are acknowledged once", async () => {
  const { world, made } = await tabs(3);
  world.event(11, { user_id: "ada" });
  await world.pass(300);
  await flush();
  assert.deepEqual(world.socket.requests, [{ type: "ack", payload: { ids: ["id-11"] } }]);
  for (const tab of made) assert.deepEqual(seqs(tab), [11]);
});

test("a tab that is frozen lets another lead, and comes back behind it", async () => {
  const { world, made } = await tabs(2);
  made[0].page.dispatchEvent(new Event("freeze"));
  await flush();
  await world.live(10);
  world.event(11);
  await flush();
  made[0].page.dispatchEvent(new Event("resume"));
  await flush();
  assert.deepEqual(leads(made), [false, true]);
  assert.equal(made[0].client.store.seq, 11);
  assert.deepEqual(made[0].told.rebuilt, [{ reason: "start" }, { reason: "taken_over" }]);
  assert.deepEqual(states(made), ["live", "live"]);
});

test("a tab that comes back ahead of the leader, during a replay, misses no message of the mailbox", async () => {
  const { world, made } = await tabs(2);
  made[1].deaf = true;
  world.event(11);
  await flush();
  made[1].deaf = false;
  made[0].page.dispatchEvent(new Event("freeze"));
  await flush();
  assert.deepEqual([made[1].client.status.leads, made[1].client.store.seq], [true, 10]);
  world.socket.open();
  world.welcome(20);
  world.event(15, { user_id: "ada", offline: true });
  await flush();
  made[0].page.dispatchEvent(new Event("resume"));
  await flush();
  for (const seq of [11, 12, 16]) world.event(seq);
  world.resumed(20);
  await flush();
  assert.deepEqual(seqs(made[1]), [15, 11, 12, 16]);
  // The replay does not have what came from the mailbox.
  assert.deepEqual(seqs(made[0]), [11]);
  assert.deepEqual(made[0].told.rebuilt, [{ reason: "start" }, { reason: "taken_over" }]);
  assert.deepEqual([made[0].client.status.state, made[0].client.store.seq], ["live", 20]);
});

test("a tab whose first token fails tries again, and joins then", async () => {
  const machine = new Machine();
  let calls = 0;
  const tab = machine.tab("late", { token: () => (++calls === 1 ? Promise.reject(new Error("HTTP 503")) : token()) });
  await flush();
  assert.deepEqual([tab.client.status.state, tab.client.status.reason.text], ["offline", "HTTP 503"]);
  await machine.world.pass(1000);
  await flush();
  await machine.world.live();
  assert.equal(tab.client.status.state, "live");
});

test("a leader whose token is another user's starts another session, and leaves the other tabs", async () => {
  let who = "ada";
  const { world, made } = await tabs(2, (number) => ({ token: () => token({ sub: number ? "ada" : who }) }));
  await world.pass(6000);
  who = "eve";
  world.socket.end(4005);
  await flush();
  const users = world.sockets.slice(1).map(({ protocols }) => JSON.parse(atob(protocols[1].split(".")[2])).sub).sort();
  assert.deepEqual(users, ["ada", "eve"]);
  assert.deepEqual(leads(made), [true, true]);
});

test("what is not of this client on the channel is ignored", async () => {
  const { machine, made, world } = await tabs(2);
  for (const data of [null, "x", { v: 2, type: "sign-out" }, { v: 1, type: "from.the.future", term: 1e15 }]) machine.broadcast(data);
  await flush();
  world.event(11);
  await flush();
  assert.deepEqual(states(made), ["live", "live"]);
});

test("a leader does not forget a tab, although its stream is never silent", async () => {
  let refuses = false;
  const { world, made } = await tabs(2, (number) => ({
    token: () => {
      if (refuses && !number) throw new Error("no token here");
      return token();
    },
  }));
  for (let seq = 11; seq < 140; seq += 1) {
    world.event(seq);
    await world.pass(3000);
  }
  assert.equal(made[0].client.status.shared, 2);
  refuses = true;
  world.socket.end(4005);
  await flush();
  assert.equal(world.sockets.length, 2);
});

test("a tab that is frozen for long is not counted", async () => {
  const { world, made } = await tabs(2);
  made[1].silent = true;
  for (let seq = 11; seq < 140; seq += 1) {
    world.event(seq);
    await world.pass(3000);
  }
  assert.equal(made[0].client.status.shared, 1);
  assert.equal(made[0].told.status.at(-1).shared, 1);
});

test("a tab that joins between welcome and snapshot knows whose connection it is", async () => {
  const machine = new Machine();
  const { world } = machine;
  machine.tab("first");
  await flush();
  world.socket.open();
  world.welcome(10);
  const late = machine.tab("late");
  await flush();
  world.snapshot(10);
  await flush();
  const { client, told } = late;
  assert.deepEqual([client.identity?.user_id, client.status.state, client.store.seq], ["ada", "live", 10]);
  assert.deepEqual(told.rebuilt, [{ reason: "start" }]);
  world.event(11);
  await flush();
  assert.deepEqual(seqs(late), [11]);
});

test("a tab that missed a gap reports that its state was rebuilt, although nothing else differs", async () => {
  const { world, made } = await tabs(2);
  made[1].deaf = true;
  world.event(11);
  world.socket.say("gap", { from_seq: 12, to_seq: 13, reason: "history_exceeded" });
  await flush();
  made[1].deaf = false;
  await world.pass(5000);
  world.snapshot(13);
  world.event(14);
  await flush();
  assert.deepEqual(made[1].told.rebuilt, [{ reason: "start" }, { reason: "taken_over" }]);
  assert.deepEqual(made[1].told.event.map(({ seq }) => seq), [14]);
});

test("when the network is back, several tabs wait as one does", async () => {
  const { world, made } = await tabs(2);
  world.socket.end(1006);
  await flush();
  for (const { page } of made) page.dispatchEvent(new Event("online"));
  await flush();
  assert.equal(world.sockets.length, 1);
  await world.pass(500);
  assert.equal(world.sockets.length, 2);
});

test("anonymous visitors with sessions of their own do not share a socket after they come back", async () => {
  const machine = new Machine();
  const { world } = machine;
  const made = [];
  for (const session_id of ["s1", "s2"]) {
    made.push(machine.tab(session_id, { token: undefined, anonymous: true }));
    await flush();
    world.socket.open();
    world.welcome(10, { session_id, session_token: token({ session_id, role: "visitor" }) });
    world.snapshot(10);
    await flush();
  }
  for (const { page } of made) page.dispatchEvent(new Event("pagehide"));
  for (const { page } of made) page.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
  await flush();
  assert.equal(world.sockets.length, 4);
  assert.deepEqual(leads(made), [true, true]);
});
