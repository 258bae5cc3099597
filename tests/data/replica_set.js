// What mongosh's setup script sees of MongoDB servers: a replica set in which nothing goes wrong,
// but which refuses what a real one refuses. The state comes in and goes out as JSON.
const state = JSON.parse(process.env.STATE);
// state.servers: host -> {up, set}; state.config: null or {_id, version, members};
// state.users: name -> {pwd, roles}; state.log: commands that changed something.

function quit(code) {
  process.exit(code);
}
function sleep(milliseconds) {
  state.slept = (state.slept || 0) + milliseconds;
}
function print(text) {
  state.said.push(text);
}

function refuse(why) {
  throw new Error(`MongoServerError: ${why}`);
}

function members() {
  return state.config ? state.config.members.map((member) => member.host) : [];
}
// A server may have a second name: that of the whole service.
function server(host) {
  return state.servers[host] || Object.values(state.servers).find((it) => it.alias === host);
}
function leader() {
  const up = members().filter((host) => server(host) && server(host).up);
  return up.length * 2 > members().length ? up[0] : null;
}

class Mongo {
  constructor(uri) {
    const found = /^mongodb:\/\/(?:([^:]*):([^@]*)@)?([^/]*)\//.exec(uri);
    [this.user, this.password, this.host] = found.slice(1).map((it) => it && decodeURIComponent(it));
    if (!server(this.host) || !server(this.host).up) refuse(`connect ECONNREFUSED ${this.host}`);
  }
  getDB(name) {
    if (name !== "admin") refuse(`no database ${name}`);
    return this;
  }
  runCommand(command) {
    const name = Object.keys(command)[0];
    const here = server(this.host);
    if (name === "hello") {
      if (!here.set) return { isWritablePrimary: !state.sets };
      const first = leader() && server(leader()) === here;
      return { setName: here.set, isWritablePrimary: Boolean(first), me: members()[0] && leader() };
    }
    if (!this.user || state.users[this.user].pwd !== this.password) refuse("Authentication failed.");
    if (name.startsWith("replSet") && name !== "replSetInitiate" && !here.set) {
      refuse("no replset config has been received");
    }
    const changes = !["replSetGetConfig", "replSetGetStatus", "usersInfo"].includes(name);
    if (changes) state.log.push(name);
    if (state.sets && name !== "replSetInitiate" && (!leader() || server(leader()) !== here)) {
      refuse("not primary");
    }
    return this[name](command);
  }
  replSetInitiate(command) {
    const config = command.replSetInitiate;
    for (const member of config.members) {
      const it = server(member.host);
      if (!it || !it.up || it.set) refuse(`${member.host} has data already or is not there`);
    }
    state.config = { ...config, version: 1 };
    for (const member of config.members) server(member.host).set = config._id;
    return { ok: 1 };
  }
  replSetGetConfig() {
    return { config: JSON.parse(JSON.stringify(state.config)) };
  }
  replSetGetStatus() {
    return { members: state.config.members.map((it, at) => ({ name: it.host, state: at ? 2 : 1 })) };
  }
  replSetReconfig(command) {
    const config = command.replSetReconfig;
    if (config.version !== state.config.version + 1) refuse("version is not the next one");
    const before = members();
    const after = config.members.map((it) => it.host);
    const changed =
      before.filter((it) => !after.includes(it)).length + after.filter((it) => !before.includes(it)).length;
    const renamed = before.length === 1 && after.length === 1;
    if (changed > 1 && !renamed) refuse("more than one member would change");
    if (new Set(config.members.map((it) => it._id)).size !== after.length) refuse("an _id twice");
    for (const host of after) {
      const it = server(host);
      // A new one must answer; an old one may be away.
      if (!before.includes(host) && !(it && it.up)) refuse(`${host} is not there`);
      if (it) it.set = config._id;
    }
    state.config = config;
    return { ok: 1 };
  }
  usersInfo(command) {
    return { users: state.users[command.usersInfo] ? [{ user: command.usersInfo }] : [] };
  }
  createUser(command) {
    if (state.users[command.createUser]) refuse("the user exists");
    state.users[command.createUser] = { pwd: command.pwd, roles: command.roles };
    return { ok: 1 };
  }
  updateUser(command) {
    if (!state.users[command.updateUser]) refuse("no such user");
    state.users[command.updateUser] = { pwd: command.pwd, roles: command.roles };
    return { ok: 1 };
  }
}

process.on("exit", () => process.stdout.write(JSON.stringify(state)));
