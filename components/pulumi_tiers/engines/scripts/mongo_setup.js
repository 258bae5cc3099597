const wanted = JSON.parse(process.env.SETUP);
const PATIENCE = 120;

function open(host, user) {
  const word = encodeURIComponent(process.env.ADMIN_PASSWORD);
  const who = user ? `${encodeURIComponent(user)}:${word}@` : "";
  const options = "directConnection=true&authSource=admin&serverSelectionTimeoutMS=5000";
  return new Mongo(`mongodb://${who}${host}/admin?${options}`).getDB("admin");
}

function hello(host) {
  try {
    return open(host).runCommand({ hello: 1 });
  } catch (error) {
    return {};
  }
}

function primary() {
  for (let second = 0; second < PATIENCE; second++) {
    for (const host of wanted.hosts) {
      const said = hello(host);
      if (said.isWritablePrimary) return open(said.me || host, wanted.admin);
    }
    sleep(1000);
  }
  throw new Error(
    `no member of ${wanted.set} became the primary in ${PATIENCE} seconds. Are most of its` +
    " members there? After 'replicas' was lowered, the others must be removed from the set by hand."
  );
}

function initiated() {
  // A member that lost its disk knows of no set: the others do.
  for (const host of wanted.hosts) {
    if (hello(host).setName) return true;
  }
  return false;
}

function reconfigure(admin, members) {
  const config = admin.runCommand({ replSetGetConfig: 1 }).config;
  config.members = members;
  config.version += 1;
  admin.runCommand({ replSetReconfig: config });
}

function settled(host) {
  for (let second = 0; second < PATIENCE; second++) {
    // The primary may be another now.
    const status = primary().runCommand({ replSetGetStatus: 1 });
    for (const member of status.members) {
      if (member.name === host && (member.state === 1 || member.state === 2)) return;
    }
    sleep(1000);
  }
  throw new Error(`${host} did not catch up in ${PATIENCE} seconds; run this again later`);
}

function join() {
  const members = wanted.hosts.map((host, number) => ({ _id: number, host: host }));
  if (!initiated()) {
    open(wanted.hosts[0], wanted.admin).runCommand({
      replSetInitiate: { _id: wanted.set, members: members },
    });
    print(`initiated ${wanted.set}: ${wanted.hosts}`);
  }
  let admin = primary();
  let known = admin.runCommand({ replSetGetConfig: 1 }).config.members;
  if (known.length === 1 && known[0].host !== wanted.hosts[0]) {
    known[0].host = wanted.hosts[0];
    reconfigure(admin, known);
    admin = primary();
  }
  // One at a time: only then each majority overlaps with the one before.
  for (const host of wanted.hosts) {
    known = admin.runCommand({ replSetGetConfig: 1 }).config.members;
    let there = false;
    let next = 0;
    for (const member of known) {
      there = there || member.host === host;
      next = Math.max(next, member._id + 1);
    }
    if (there) continue;
    known.push({ _id: next, host: host });
    reconfigure(admin, known);
    settled(host);
    print(`added ${host}`);
    admin = primary();
  }
  for (const gone of admin.runCommand({ replSetGetConfig: 1 }).config.members) {
    if (wanted.hosts.includes(gone.host)) continue;
    known = admin.runCommand({ replSetGetConfig: 1 }).config.members;
    reconfigure(admin, known.filter((member) => member.host !== gone.host));
    print(`removed ${gone.host}`);
    admin = primary();
  }
  return admin;
}

const admin = wanted.set ? join() : open(wanted.hosts[0], wanted.admin);
for (const user of wanted.users) {
  const known = admin.runCommand({ usersInfo: user.name }).users.length > 0;
  const command = known ? { updateUser: user.name } : { createUser: user.name };
  command.pwd = process.env[user.variable];
  command.roles = user.roles;
  admin.runCommand(command);
  print(`${known ? "updated" : "made"} the user ${user.name}`);
}
