// Asks the simulated GitHub everything that it serves and holds the answers against GitHub's description.
//   node check.mjs BINARY      BINARY is a built `hubwarden-simulator`

import { readFileSync } from "node:fs";
import { Octokit } from "@octokit/rest";
import { Description } from "./description.mjs";
import { Simulator, forms, generate, links } from "./simulator.mjs";

/** Where GitHub itself differs from its description. Each one must be met, or it is to be taken out. */
const EXCEPTIONS = {
  "audit-log 401": "only 200 is described; a wrong token is answered as on every other path",
  "audit-log 403": "only 200 is described; scope and limits are answered as on every other path",
  "audit-log 404": "only 200 is described; an unknown name is answered as on every other path",
  "audit-log 422": "only 200 is described; a phrase that cannot be read is a failed validation",
  "org 401": "401 is not described, though the path is refused to wrong tokens as all are",
  "numeric path": "links lead to /organizations/{id}/audit-log and /enterprises/{id}/audit-log; neither is described",
  "events of a hook": "described as objects; the names of events, as texts, as in every hook's own answer",
  "resources.audit_log": "the audit log's own bucket is in the answer and not in the description",
  "resources.audit_log_streaming": "the stream configuration's own bucket is in the answer and not in the description",
};
const ORG_LOG = "/orgs/{org}/audit-log";
const ENTERPRISE_LOG = "/enterprises/{enterprise}/audit-log";
const ORG = "octo-shop";
const ENTERPRISE = "octo-corp";
const LIFE = ["--seed", "7", "--days", "3", "--events", "1500", "--end-ms", String(Date.now())];
/** Long enough that everything the generator can do happens; always the same, so that no run depends on luck. */
const LONG_LIFE = ["--seed", "7", "--days", "30", "--events", "1000000", "--end-ms", "1793491200000"];
const PER_PAGE = 100;
/** Actions that only the enterprise's log shows, even where they name an organization. */
const ENTERPRISE_ONLY = new Set(
  tableOf("catalog/data/audit-actions.tsv").filter(([, , org]) => org === "no").map(([action]) => action),
);

const met = new Set();
let passed = 0;
let failed = 0;

/** The rows of a table of one of the crates, each as its cells. */
function tableOf(path) {
  const lines = readFileSync(new URL(`../../crates/${path}`, import.meta.url), "utf8").trimEnd().split("\n");
  return lines.filter((line) => !line.startsWith("#")).map((line) => line.split("\t"));
}

/** Counts one thing as right or wrong, and says what is wrong. */
function check(name, problems) {
  const wrong = [problems].flat().filter((problem) => problem !== true && problem !== undefined);
  if (wrong.length === 0) {
    passed += 1;
    return;
  }
  failed += 1;
  const texts = [...new Set(wrong.map((problem) => (problem === false ? "does not hold" : problem)))];
  console.error(`FAILED ${name}\n  ${texts.slice(0, 10).join("\n  ")}`);
}

/** Counts whether two values are the same. */
function same(name, actual, expected) {
  const [left, right] = [JSON.stringify(actual), JSON.stringify(expected)];
  check(name, left === right || `is ${left?.slice(0, 200)}, not ${right?.slice(0, 200)}`);
}

/** Takes the named exception; the check fails at the end if nobody does. */
function exception(name) {
  if (EXCEPTIONS[name] === undefined) throw new Error(`the exception "${name}" gives no reason`);
  met.add(name);
}

/** Checks status, common headers and body of an answer against every description that has the path. */
function conforms(name, answer, status, path, descriptions, { undescribed } = {}) {
  same(`${name}: status`, answer.status, status);
  check(`${name}: content type`, /^application\/json; charset=utf-8$/.test(answer.headers.get("content-type")));
  const having = descriptions.filter((description) => description.operation(path) !== undefined);
  check(`${name}: the path is described`, having.length > 0);
  for (const description of having) {
    let problems = description.problems(path, status, answer.body);
    if (problems === undefined && undescribed !== undefined) {
      exception(undescribed);
      problems = description.problemsAs(status === 422 ? "validation-error" : "basic-error", answer.body);
    }
    if ([ORG_LOG, ENTERPRISE_LOG].includes(path)) problems = problems?.filter(isNoHookEvent);
    check(`${name}: body of ${description.product}`, problems ?? `${status} is not described`);
  }
  if (status >= 400) {
    same(`${name}: status in the body`, answer.body.status, String(status));
    const described = ["message", "documentation_url"].every((key) => typeof answer.body[key] === "string");
    check(`${name}: message and documentation_url`, described);
  }
}

/** Whether what is wrong with a page of the log is anything else than the names of a hook's events. */
function isNoHookEvent(problem) {
  const isHookEvent = /^\/\d+\/events\/\d+ must be object$/.test(problem);
  if (isHookEvent) exception("events of a hook");
  return !isHookEvent;
}

/** Holds one event of every form that the generator makes against every description of an event. */
async function everyForm(binary, descriptions) {
  const events = await forms(binary, LONG_LIFE);
  const made = new Set(events.map((event) => event.action));
  const missing = tableOf("simulator/fixtures/actions-used.tsv").filter(([action]) => !made.has(action));
  check("every action is made", missing.map(([action]) => `${action} is not in the long life`));
  for (const description of descriptions) {
    for (const path of [ORG_LOG, ENTERPRISE_LOG]) {
      if (description.operation(path) === undefined) continue;
      const problems = description.problems(path, 200, events).filter(isNoHookEvent);
      const named = problems.map((problem) => `${events[problem.split(/[/ ]/)[1]]?.action}: ${problem}`);
      check(`every form: ${path} of ${description.product}`, named);
    }
  }
}

/** Checks the rate-limit headers: whole numbers that add up, of the named bucket, within the hour. */
function limited(name, answer, resource, limit) {
  const value = (part) => answer.headers.get(`x-ratelimit-${part}`);
  const parts = ["limit", "remaining", "used", "reset"];
  const missing = parts.filter((part) => !/^\d+$/.test(value(part) ?? ""));
  check(`${name}: x-ratelimit numbers`, missing.map((part) => `x-ratelimit-${part} is ${value(part)}`));
  same(`${name}: x-ratelimit-resource`, value("resource"), resource);
  same(`${name}: x-ratelimit-limit`, value("limit"), String(limit));
  const [all, remaining, used, reset] = parts.map((part) => Number(value(part)));
  same(`${name}: remaining and used make the limit`, remaining + used, all);
  const ahead = reset - Date.now() / 1000;
  check(`${name}: x-ratelimit-reset`, (ahead > 0 && ahead <= 3601) || `is ${ahead} seconds ahead`);
}

/** Reads a log page by page; checks every page and its links, and gives the events. */
async function follow(name, simulator, start, path, descriptions, cursors) {
  const events = [];
  let address = start;
  for (let pages = 1; address !== undefined; pages += 1) {
    if (pages > 200) throw new Error(`${name}: paging never ends`);
    const page = await simulator.get(address);
    const asked = new URL(page.url);
    conforms(`${name} page ${pages}`, page, 200, path, descriptions);
    const found = links(page.headers.get("link"));
    for (const [rel, link] of Object.entries(found)) {
      same(`${name} page ${pages}: host of ${rel}`, link.origin, asked.origin);
      for (const kept of ["include", "order", "per_page"]) {
        same(`${name} page ${pages}: ${kept} in ${rel}`, link.searchParams.get(kept), asked.searchParams.get(kept));
      }
      if (!cursors) continue;
      exception("numeric path");
      check(`${name} page ${pages}: path of ${rel}`, /^\/(organizations|enterprises)\/\d+\/audit-log$/.test(link.pathname));
      const [after, before] = ["after", "before"].map((key) => link.searchParams.get(key));
      check(`${name} page ${pages}: after and before in ${rel}`, after !== null && before !== null && !(after && before));
    }
    const isLast = found.next === undefined;
    same(`${name} page ${pages}: first page has no prev`, found.prev === undefined, pages === 1);
    same(`${name} page ${pages}: last`, found.last !== undefined, !cursors && !isLast);
    const size = Number(asked.searchParams.get("per_page"));
    check(`${name} page ${pages}: size`, isLast ? page.body.length <= size : page.body.length === size);
    events.push(...page.body);
    address = found.next?.href;
    if (isLast) check(`${name}: several pages`, pages >= 3 || `only ${pages}`);
  }
  return events;
}

/** Checks a log that was read in one order: each event once, all of the generator's, in the order of time. */
function complete(name, events, generated, order) {
  same(`${name}: count`, events.length, generated.length);
  same(`${name}: each once`, new Set(events.map((event) => event._document_id)).size, events.length);
  const later = order === "asc" ? 1 : -1;
  const times = events.map((event) => event["@timestamp"] * later);
  check(`${name}: ordered by time`, times.every((time, index) => index === 0 || times[index - 1] <= time));
}

/** Everything that is asked of both GitHub.com and GHES: the two logs in all orders and selections. */
async function logs(simulator, generated, descriptions, cursors) {
  const kind = cursors ? "ghec" : "ghes";
  const ofOrg = generated.filter((event) => event.org === ORG && !ENTERPRISE_ONLY.has(event.action));
  for (const [path, address, all] of [
    [ENTERPRISE_LOG, `/enterprises/${ENTERPRISE}/audit-log`, generated],
    [ORG_LOG, `/orgs/${ORG}/audit-log`, ofOrg],
  ]) {
    const parameter = (name) => descriptions[0].parameter(path, name).schema;
    for (const order of parameter("order").enum) {
      for (const include of parameter("include").enum) {
        const name = `${kind} ${path} ${include} ${order}`;
        const expected = all.filter((event) => include === "all" || event.action.startsWith("git.") === (include === "git"));
        const perPage = Math.min(PER_PAGE, Math.max(1, Math.floor(expected.length / 4)));
        const start = `${address}?include=${include}&order=${order}&per_page=${perPage}`;
        complete(name, await follow(name, simulator, start, path, descriptions, cursors), expected, order);
      }
    }
    const plain = await simulator.get(address);
    conforms(`${kind} ${path} by default`, plain, 200, path, descriptions);
    same(`${kind} ${path}: default size`, plain.body.length, parameter("per_page").default);
    const git = plain.body.filter((event) => event.action.startsWith("git."));
    same(`${kind} ${path}: web by default`, git.length, 0);
    complete(`${kind} ${path}: newest first by default`, plain.body, plain.body, "desc");
    if (descriptions[0].parameter(path, "page") !== undefined) {
      const first = await simulator.get(`${address}?include=all&per_page=20`);
      const second = await simulator.get(`${address}?include=all&per_page=10&page=2`);
      conforms(`${kind} ${path} page=2`, second, 200, path, descriptions);
      same(`${kind} ${path} page=2: events`, second.body, first.body.slice(10));
    }

    const undescribed = (status) => ({ undescribed: `audit-log ${status}` });
    const noToken = await simulator.get(address, { token: null });
    conforms(`${kind} ${path} without token`, noToken, 401, path, descriptions, undescribed(401));
    const wrong = await simulator.get(address, { token: "ghp_wrong" });
    conforms(`${kind} ${path} with a wrong token`, wrong, 401, path, descriptions, undescribed(401));
    const nobody = await simulator.get(address.replace(/octo-[a-z]+/, "nobody"));
    conforms(`${kind} ${path} of nobody`, nobody, 404, path, descriptions, undescribed(404));
    for (const query of ["phrase=colour:red", "phrase=created:yesterday", "include=some"].concat(cursors ? "after=x" : [])) {
      const refused = await simulator.get(`${address}?${query}`);
      conforms(`${kind} ${path}?${query}`, refused, 422, path, descriptions, undescribed(422));
    }
  }
}

/** The small paths that GitHub.com and GHES share. */
async function small(simulator, kind, descriptions) {
  conforms(`${kind} /meta`, await simulator.get("/meta", { token: null }), 200, "/meta", descriptions);
  conforms(`${kind} /user`, await simulator.get("/user"), 200, "/user", descriptions);
  conforms(`${kind} /user without token`, await simulator.get("/user", { token: null }), 401, "/user", descriptions);
  conforms(`${kind} /orgs/${ORG}`, await simulator.get(`/orgs/${ORG}`), 200, "/orgs/{org}", descriptions);
  conforms(`${kind} /orgs/nobody`, await simulator.get("/orgs/nobody"), 404, "/orgs/{org}", descriptions);
  const refused = await simulator.get(`/orgs/${ORG}`, { token: null });
  conforms(`${kind} /orgs without token`, refused, 401, "/orgs/{org}", descriptions, { undescribed: "org 401" });
}

/** GitHub.com with Enterprise Cloud, its limits and both versions of its API. */
async function cloud(simulator, generated, descriptions, next) {
  await small(simulator, "ghec", descriptions);
  await logs(simulator, generated, descriptions, true);
  const audit = await simulator.get(`/orgs/${ORG}/audit-log`);
  limited("audit log", audit, "audit_log", 1750);
  limited("/user", await simulator.get("/user"), "core", 5000);
  limited("/meta", await simulator.get("/meta", { token: null }), "core", 60);

  const versions = await simulator.get("/versions", { token: null });
  conforms("/versions", versions, 200, "/versions", descriptions);
  for (const [version, described] of [["2022-11-28", descriptions], ["2026-03-10", next]]) {
    check(`/versions has ${version}`, versions.body.includes(version));
    const headers = { "x-github-api-version": version };
    const limits = await simulator.get("/rate_limit", { headers });
    conforms(`/rate_limit of ${version}`, limits, 200, "/rate_limit", described);
    limited(`/rate_limit of ${version}`, limits, "core", 5000);
    same(`/rate_limit of ${version}: selected`, limits.headers.get("x-github-api-version-selected"), version);
    const known = described[0].document.components.schemas["rate-limit-overview"].properties;
    same(`/rate_limit of ${version}: rate`, limits.body.rate !== undefined, known.rate !== undefined);
    for (const [bucket, value] of Object.entries(limits.body.resources)) {
      if (known.resources.properties[bucket] !== undefined) continue;
      exception(`resources.${bucket}`);
      check(`/rate_limit of ${version}: ${bucket}`, described[0].problemsAs("rate-limit", value));
    }
    same(`/rate_limit of ${version}: audit_log`, limits.body.resources.audit_log.limit, 1750);
    conforms(`/user of ${version}`, await simulator.get("/user", { headers }), 200, "/user", described);
    conforms(`/orgs of ${version}`, await simulator.get(`/orgs/${ORG}`, { headers }), 200, "/orgs/{org}", described);
  }
}

/** GitHub Enterprise Server: another base, pages by number, no limits. */
async function server(simulator, generated, descriptions) {
  check("ghes: base", simulator.url.endsWith("/api/v3"));
  await small(simulator, "ghes", descriptions);
  await logs(simulator, generated, descriptions, false);
  conforms("ghes /rate_limit", await simulator.get("/rate_limit"), 404, "/rate_limit", descriptions);
  same("ghes: /versions is not described", descriptions[0].operation("/versions"), undefined);
  same("ghes: /versions is not served", (await simulator.get("/versions")).status, 404);
  const user = await simulator.get("/user");
  same("ghes: no limit", user.headers.get("x-ratelimit-limit"), null);
  same("ghes: version", user.headers.get("x-github-enterprise-version"), "3.19.0");
}

/** Refusals with 403: a used-up hour, a missing scope, too many wrong tokens. */
async function refusals(tight, scopeless, descriptions) {
  const address = `/orgs/${ORG}/audit-log`;
  const undescribed = { undescribed: "audit-log 403" };
  for (let number = 0; number < 2; number += 1) same("within the limit", (await tight.get(address)).status, 200);
  const over = await tight.get(address);
  conforms("over the limit", over, 403, ORG_LOG, descriptions, undescribed);
  limited("over the limit", over, "audit_log", 2);
  same("over the limit: remaining", over.headers.get("x-ratelimit-remaining"), "0");

  const refused = await scopeless.get(address);
  conforms("without the scope", refused, 403, ORG_LOG, descriptions, undescribed);
  same("without the scope: granted", refused.headers.get("x-oauth-scopes"), "read:org");
  same("without the scope: wanted", refused.headers.get("x-accepted-oauth-scopes"), "read:audit_log");
  for (let number = 0; number < 10; number += 1) await scopeless.get("/user", { token: "ghp_wrong" });
  const lockedOut = await scopeless.get("/user");
  conforms("after ten wrong tokens", lockedOut, 403, "/user", descriptions);
}

/** GitHub's own client pages through the log and finds as many events as the generator made. */
async function client(simulator, generated) {
  const quiet = () => {};
  const log = { debug: quiet, info: quiet, warn: console.warn, error: quiet }; // the 404 below is wanted
  const octokit = new Octokit({ auth: simulator.token, baseUrl: simulator.url, log });
  const route = `GET ${ENTERPRISE_LOG}`;
  const read = await octokit.paginate(route, { enterprise: ENTERPRISE, include: "all", per_page: PER_PAGE });
  same("octokit: count of the enterprise's log", read.length, generated.length);
  same("octokit: each event once", new Set(read.map((event) => event._document_id)).size, generated.length);
  same("octokit: user", (await octokit.rest.users.getAuthenticated()).data.login, "octo-auditor");
  same("octokit: organization", (await octokit.rest.orgs.get({ org: ORG })).data.login, ORG);
  same("octokit: limits", (await octokit.rest.rateLimit.get()).data.resources.core.limit, 5000);
  const refused = await octokit.rest.orgs.get({ org: "nobody" }).then(() => 200, (error) => error.status);
  same("octokit: 404 is an error", refused, 404);
}

/** The validators find what is wrong: without this, an empty description would pass everything. */
async function validatorsRefuse(simulator, [description]) {
  const refuses = (name, problems) => check(`refused: ${name}`, problems?.length > 0);
  const user = (await simulator.get("/user")).body;
  refuses("a user without id", description.problems("/user", 200, { ...user, id: undefined }));
  refuses("a user whose address is none", description.problems("/user", 200, { ...user, url: "no address" }));
  same("a user without name is fine", description.problems("/user", 200, { ...user, name: null }), []);
  refuses("an object for the log", description.problems(ORG_LOG, 200, {}));
  refuses("a number for an action", description.problems(ORG_LOG, 200, [{ action: 7 }]));
  refuses("null for an action", description.problems(ORG_LOG, 200, [{ action: null }]));
  refuses("a limit as text", description.problemsAs("rate-limit", { limit: "1", remaining: 1, reset: 1, used: 0 }));
  refuses("an error without message", description.problemsAs("validation-error", { errors: [] }));
  same("a status that is not described", description.problems(ORG_LOG, 418, {}), undefined);
}

const binary = process.argv[2];
if (binary === undefined) {
  console.error("usage: node check.mjs BINARY");
  process.exit(2);
}
const described = (products, version) => products.map((product) => new Description(product, version));
const [current, next] = ["2022-11-28", "2026-03-10"].map((version) => described(["ghec", "api.github.com"], version));
const enterpriseServer = described(["ghes-3.19"], "2022-11-28");
const generated = generate(binary, LIFE).filter((event) => event.action !== "api.request");

await everyForm(binary, [...current, ...next, ...enterpriseServer]);

const running = [];
const start = async (...options) => {
  const simulator = await Simulator.start(binary, "ghp_of_the_check", [...LIFE, ...options]);
  running.push(simulator);
  return simulator;
};
try {
  const github = await start();
  await validatorsRefuse(github, current);
  await client(github, generated);
  await cloud(github, generated, current, next);
  await server(await start("--ghes", "3.19.0"), generated, enterpriseServer);
  await refusals(await start("--rate-limit", "2"), await start("--scopes", "read:org"), current);
} finally {
  await Promise.all(running.map((simulator) => simulator.stop()));
}
for (const name of Object.keys(EXCEPTIONS)) check(`exception "${name}" is met`, met.has(name));
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
