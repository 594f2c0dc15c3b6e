// Opens every page of the console in Chromium and fails at the first thing a user should not meet.
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import AxeBuilder from "@axe-core/playwright";
import { chromium } from "playwright-core";

const [url, link, shots] = process.argv.slice(2);
assert(url && link && shots, "usage: console.mjs URL LINK FOLDER");
await mkdir(shots, { recursive: true });

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox"],
});

const troubles = [];
const context = await browser.newContext();

/** Notes whatever a page does that it must not. */
function watch(page) {
  page.on("request", (request) => {
    const own = request.url().startsWith(`${url}/`) || request.url().startsWith("data:");
    if (!own) troubles.push(`request to ${request.url()}`);
  });
  page.on("console", (message) => {
    // Chromium reports the status of a page that is meant to fail; `open` checks that one.
    const own = message.location().url === page.url() && message.text().startsWith("Failed to load");
    if (["error", "warning"].includes(message.type()) && !own) {
      troubles.push(`console ${message.type()} on ${page.url()}: ${message.text()}`);
    }
  });
  page.on("pageerror", (error) => troubles.push(`script error on ${page.url()}: ${error}`));
  page.on("dialog", (dialog) => {
    troubles.push(`${page.url()} opened a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
}

async function open(page, path, status = 200) {
  const response = await page.goto(url + path);
  assert.equal(response.status(), status, path);
}

async function checkPage(page, name) {
  const axe = new AxeBuilder({ page }).withTags([
    "wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice",
  ]);
  const { violations, passes } = await axe.analyze();
  assert(passes.length > 10, `axe looked at ${name}`);
  for (const { id, help, nodes } of violations) {
    const where = nodes.map((node) => `${node.target} ${node.failureSummary}`).join("\n    ");
    troubles.push(`axe on ${name}: ${id}, ${help}\n    ${where}`);
  }
  const wide = await page.evaluate(
    () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
  );
  if (wide > 0) troubles.push(`${name} is ${wide} px wider than the window`);
  await page.screenshot({ path: join(shots, `${name}.png`), fullPage: true });
}

// Without a session nothing is shown; the link works once.
const stranger = await browser.newContext();
const outside = await stranger.newPage();
assert.equal((await outside.goto(`${url}/findings`)).status(), 401);
await outside.goto(link);
assert.equal(new URL(outside.url()).pathname, "/", "the link leads to the overview");
const session = await stranger.cookies();
assert(session.length === 1 && session[0].httpOnly && session[0].sameSite === "Strict");
const late = await (await browser.newContext()).newPage();
assert.equal((await late.goto(link)).status(), 401, "a used link is refused");
await checkPage(late, "signed-out");
await context.addCookies(session);

const first = await context.newPage();
await open(first, "/findings");
const finding = await first.locator("[data-open]").first().getAttribute("href");
await open(first, "/findings?text=cloned");
const several = first.locator("[data-open]").first();
const busiest = (await several.count()) > 0 ? await several.getAttribute("href") : finding;
await first.close();

const pages = [
  ["overview", "/", 200],
  ["findings", "/findings", 200],
  ["filtered", "/findings?severity=critical&severity=high&since=30d&text=octo", 200],
  ["mistake", "/findings?since=yesterday&severity=high", 400],
  ["nothing", "/findings?text=no+such+finding", 200],
  ["finding", busiest, 200],
  ["not-found", "/findings/F-NOSUCH", 404],
  ["pipeline", "/pipeline", 200],
  ["dead-letters", "/dead-letters", 200],
  ["reason", "/dead-letters?topic=raw.dead&reason=" + encodeURIComponent("field `action` is missing"), 200],
  ["letter", "/dead-letters/raw.dead-1-100", 200],
  ["letter-cut", "/dead-letters/raw.dead-1-101", 200],
  ["letter-missing", "/dead-letters/raw.dead-1-999", 404],
];
for (const colorScheme of ["light", "dark"]) {
  for (const width of [1280, 390]) {
    const page = await context.newPage();
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 900 });
    watch(page);
    for (const [name, path, status] of pages) {
      await open(page, path, status);
      if (name === "overview") await page.locator(".chart summary").click();
      if (name === "pipeline") await page.locator("#lag ~ .chart summary").click();
      if (name === "finding") await page.locator(".events summary").first().click();
      await checkPage(page, `${name}-${colorScheme}-${width}`);
    }
    await page.close();
  }
}

// Keys.
const page = await context.newPage();
watch(page);
await page.setViewportSize({ width: 1280, height: 900 });
await open(page, "/findings");
const focused = () => page.evaluate(() => document.activeElement.getAttribute("href"));
const links = await page.locator("[data-open]").evaluateAll((all) => all.map((one) => one.getAttribute("href")));
assert(links.length > 2, "there are findings to walk through");
await page.keyboard.press("j");
assert.equal(await focused(), links[0], "j goes to the first");
await page.keyboard.press("j");
await page.keyboard.press("j");
await page.keyboard.press("k");
assert.equal(await focused(), links[1], "j, j, k");
const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
assert.equal(outline, "solid", "the focus is visible");
await page.screenshot({ path: join(shots, "focus.png") });
await page.keyboard.press("Enter");
await page.waitForURL((at) => at.pathname === links[1]);
await page.keyboard.press("u");
await page.waitForURL((at) => at.pathname === "/findings");
await page.keyboard.press("/");
assert.equal(await page.evaluate(() => document.activeElement.getAttribute("name")), "text");
await page.keyboard.type("j?octocat/");
assert.equal(await page.evaluate(() => document.activeElement.value), "j?octocat/", "typing is typing");
await page.keyboard.press("Escape");
await page.keyboard.press("?");
await page.locator("#help[open]").waitFor();
await checkPage(page, "help");
await page.getByLabel("Single-key shortcuts").uncheck();
await page.keyboard.press("Escape");
await page.locator("#help:not([open])").waitFor({ state: "attached" });
await page.keyboard.press("j");
assert.equal(await focused(), null, "switched off, keys do nothing");

// The skip link comes first; a search from the header lands on the list with its command.
await open(page, "/");
await page.keyboard.press("Tab");
assert.equal(await focused(), "#main", "the first stop skips to the content");
await page.getByRole("searchbox", { name: "Search all findings" }).fill("octo-labs");
await page.keyboard.press("Enter");
await page.waitForURL((at) => at.pathname === "/findings" && at.searchParams.get("text") === "octo-labs");
assert.match(await page.locator(".command code").innerText(), /finding list --text octo-labs/);
for (const name of ["CSV", "NDJSON"]) {
  const download = page.waitForEvent("download");
  await page.locator(".exports").getByRole("link", { name, exact: true }).click();
  await (await download).createReadStream().then((stream) => stream.resume());
}

// A letter goes back by its form, once unless somebody has seen that it did; without script, too.
const plain = await browser.newContext({ javaScriptEnabled: false });
await plain.addCookies(session);
const bare = await plain.newPage();
await open(bare, "/dead-letters/raw.dead-1-5");
await bare.getByRole("button", { name: "Put back", exact: true }).click();
assert.match(await bare.locator(".done").innerText(), /1 record stands on its topic again/);
await bare.getByRole("button", { name: "Put back once more" }).waitFor();
await open(bare, pages.find(([name]) => name === "reason")[1]);
await bare.getByRole("button", { name: "Put back all that nobody has" }).click();
assert.match(await bare.locator(".done").innerText(), /59 records stand on its topic again/);
await open(page, new URL(bare.url()).pathname + new URL(bare.url()).search);
await checkPage(page, "put-back");
await open(bare, "/dead-letters/raw.dead-1-101");
assert.equal(await bare.locator("form[method=post]").count(), 0, "what is cut offers no button");
assert.equal(await page.locator(".top nav a").count(), 3);

await browser.close();
if (troubles.length > 0) {
  console.error(troubles.join("\n"));
  process.exit(1);
}
console.log(`${pages.length * 4 + 3} pages without a violation; keys work; nothing left ${url}`);
