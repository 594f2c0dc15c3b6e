// GitHub's description of its REST API, as validators of answers.

import { readFileSync } from "node:fs";
import Ajv from "ajv";
import addFormats from "ajv-formats";

/** One product's description: `ghec`, `api.github.com` or `ghes-3.19`, with the breaking changes up to `version`. */
export class Description {
  constructor(product, version) {
    this.product = product;
    const file = new URL(`node_modules/@octokit/openapi/generated/${product}.json`, import.meta.url);
    this.document = JSON.parse(readFileSync(file));
    for (const schema of Object.values(this.document.components.schemas)) applyChanges(schema, version);
    allowNull(this.document.components);
    allowNull(this.document.paths);
    this.ajv = new Ajv({ strict: false, allErrors: true });
    addFormats(this.ajv);
    // Named by OpenAPI or GitHub, and meant as a hint to the reader only.
    for (const hint of ["uri-template", "timestamp"]) this.ajv.addFormat(hint, true);
    this.ajv.addSchema({ $id: product, components: this.document.components, paths: this.document.paths });
  }

  /** The description of `GET path`, or nothing where the product does not have it. */
  operation(path) {
    return this.document.paths[path]?.get;
  }

  /** A query parameter of `GET path` with its schema. */
  parameter(path, name) {
    return this.operation(path).parameters.map((one) => this.resolve(one)).find((one) => one.name === name);
  }

  /** What is wrong with an answer's body, as texts; `undefined` when the status is not described. */
  problems(path, status, body) {
    const response = this.operation(path).responses[status];
    if (response === undefined) return undefined;
    const schema = this.resolve(response).content?.["application/json"]?.schema;
    if (schema === undefined) return [`no JSON is described for ${status}`];
    return this.against(schema, body);
  }

  /** What is wrong with `body` as a named schema. */
  problemsAs(name, body) {
    return this.against({ $ref: `#/components/schemas/${name}` }, body);
  }

  against(schema, body) {
    const validate = this.ajv.compile(absolute(schema, this.product));
    if (validate(body)) return [];
    return validate.errors.map((error) => `${error.instancePath || "/"} ${error.message}`);
  }

  resolve(value) {
    let found = value;
    while (found.$ref !== undefined) {
      const steps = found.$ref.slice(2).split("/");
      found = steps.reduce((at, step) => at[step.replaceAll("~1", "/").replaceAll("~0", "~")], this.document);
    }
    return found;
  }
}

/** Applies the changes to a schema that came with a version of the API up to the asked one. */
function applyChanges(schema, version) {
  for (const change of schema["x-github-breaking-changes"] ?? []) {
    if (change.version > version) continue;
    if (Array.isArray(change.patch)) {
      for (const step of change.patch) patchOnce(schema, step);
    } else {
      merge(schema, change.patch);
    }
  }
}

/** One operation of a JSON patch, RFC 6902. */
function patchOnce(schema, { op, path, value }) {
  const steps = path.slice(1).split("/").map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
  const last = steps.pop();
  const at = steps.reduce((inner, step) => inner[step], schema);
  if (op === "remove") {
    if (Array.isArray(at)) at.splice(Number(last), 1);
    else delete at[last];
  } else if (op === "replace" || (op === "add" && !Array.isArray(at))) {
    at[last] = value;
  } else {
    throw new Error(`the operation ${op} at ${path} is not understood`);
  }
}

/** A JSON merge patch, RFC 7396. */
function merge(target, patch) {
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete target[key];
    else if (typeof value === "object" && !Array.isArray(value)) merge((target[key] ??= {}), value);
    else target[key] = value;
  }
}

/** Turns OpenAPI 3.0's `nullable` into JSON Schema's type `null`, everywhere below `node`. */
function allowNull(node) {
  if (node === null || typeof node !== "object") return;
  for (const value of Object.values(node)) allowNull(value);
  if (node.nullable !== true) return;
  delete node.nullable;
  if (typeof node.type === "string") {
    node.type = [node.type, "null"];
    if (Array.isArray(node.enum) && !node.enum.includes(null)) node.enum.push(null);
    return;
  }
  const rest = { ...node };
  for (const key of Object.keys(rest)) delete node[key];
  node.anyOf = [rest, { type: "null" }];
}

/** The schema with its local references made absolute, so that it can be compiled on its own. */
function absolute(schema, product) {
  return JSON.parse(JSON.stringify(schema), (key, value) =>
    key === "$ref" && value.startsWith("#") ? product + value : value);
}
