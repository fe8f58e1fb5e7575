"use strict";
// Renders openapi.json. All text goes through textContent, so nothing in the document can become markup.

const METHODS = ["get", "post", "put", "patch", "delete"];

/** An element with attributes and children; strings become text. */
function h(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value !== undefined && value !== false) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== null));
  return element;
}

/** Text with `code` between backquotes and paragraphs between empty lines. */
function prose(text) {
  return (text || "").split(/\n{2,}/).filter(Boolean).map((paragraph) => h("p", {}, inline(paragraph)));
}

function inline(text) {
  return (text || "").split("`").map((part, index) => (index % 2 ? h("code", {}, part) : part));
}

class Reference {
  constructor(api) {
    this.api = api;
  }

  resolve(value) {
    const path = value && value.$ref;
    if (!path) return value || {};
    const target = path.split("/").slice(1).reduce((at, key) => (at || {})[key.replace(/~1/g, "/").replace(/~0/g, "~")], this.api);
    return target || {};
  }

  schemaName(schema) {
    return schema && schema.$ref ? schema.$ref.split("/").pop() : undefined;
  }

  /** The schema without the `null` alternative, and whether there was one. */
  nonNull(schema) {
    const options = schema.oneOf || schema.anyOf;
    if (options) {
      const rest = options.filter((option) => option.type !== "null");
      if (rest.length === 1 && rest.length < options.length) return [rest[0], true];
    }
    if (Array.isArray(schema.type)) {
      const rest = schema.type.filter((type) => type !== "null");
      return [{ ...schema, type: rest.length === 1 ? rest[0] : rest }, rest.length < schema.type.length];
    }
    return [schema, false];
  }

  typeText(schema) {
    const [inner, nullable] = this.nonNull(schema || {});
    const suffix = nullable ? " or null" : "";
    const name = this.schemaName(inner);
    if (name) return name + suffix;
    if (inner.type === "array") return `list of ${this.typeText(inner.items)}` + suffix;
    if (inner.enum) return inner.enum.map((value) => JSON.stringify(value)).join(" | ") + suffix;
    const options = inner.oneOf || inner.anyOf;
    if (options) return options.map((option) => this.typeText(option)).join(" | ") + suffix;
    return (inner.format || inner.type || "any") + suffix;
  }

  limits(schema) {
    const [inner] = this.nonNull(schema || {});
    const found = [];
    if (inner.default !== undefined) found.push(`default ${JSON.stringify(inner.default)}`);
    if (inner.minLength !== undefined || inner.maxLength !== undefined) {
      found.push(`${this.span(inner.minLength, inner.maxLength)} characters`);
    }
    if (inner.minimum !== undefined) found.push(`from ${inner.minimum}`);
    if (inner.maximum !== undefined) found.push(`up to ${inner.maximum}`);
    if (inner.minItems !== undefined || inner.maxItems !== undefined) {
      found.push(`${this.span(inner.minItems, inner.maxItems)} items`);
    }
    return found.join(", ");
  }

  span(from, to) {
    if (from === to) return `${from}`;
    if (to === undefined) return `at least ${from}`;
    return from === undefined ? `up to ${to}` : `${from} to ${to}`;
  }

  /** Rows of an object's fields; nested objects follow behind a fold. */
  fields(schema, seen = []) {
    const [inner] = this.nonNull(schema || {});
    const name = this.schemaName(inner);
    const object = this.resolve(inner);
    if (object.type === "array" || inner.type === "array") return this.fields(object.items || inner.items, seen);
    if (!object.properties) return h("p", { class: "dim" }, this.typeText(schema));
    const required = new Set(object.required || []);
    const below = [];
    const rows = Object.entries(object.properties).map(([key, field]) => {
      const child = this.childName(field);
      if (child && !seen.includes(child) && child !== name && !below.includes(child)) below.push(child);
      return h("tr", {},
        h("td", {}, h("code", { class: required.has(key) ? "required" : undefined }, key)),
        h("td", {}, this.typeText(field)),
        h("td", {}, inline(this.describe(field)), this.limits(field) ? h("div", { class: "dim" }, this.limits(field)) : null));
    });
    const folds = below
      .filter((child) => this.resolve({ $ref: `#/components/schemas/${child}` }).properties)
      .map((child) => h("details", {}, h("summary", {}, child),
        this.fields({ $ref: `#/components/schemas/${child}` }, [...seen, name, child])));
    return h("div", { class: "scroll" }, this.table(["Field", "Type", "Meaning"], rows), folds);
  }

  childName(field) {
    const [inner] = this.nonNull(field || {});
    return this.schemaName(inner) || (inner.items ? this.childName(inner.items) : undefined);
  }

  describe(field) {
    const [inner] = this.nonNull(field || {});
    return field.description || inner.description || this.resolve(inner).description || "";
  }

  table(heads, rows) {
    return h("table", {},
      h("thead", {}, h("tr", {}, heads.map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", {}, rows));
  }

  /** A value that fits the schema, for the example. */
  example(schema, depth = 0) {
    const [inner] = this.nonNull(schema || {});
    const object = this.resolve(inner);
    if (object.example !== undefined) return object.example;
    if (object.default !== undefined) return object.default;
    if (object.enum) return object.enum[0];
    if (object.type === "array") return depth > 3 ? [] : [this.example(object.items, depth + 1)];
    if (object.properties) {
      const required = new Set(object.required || []);
      const shown = Object.entries(object.properties).filter(([key]) => required.has(key) || required.size === 0);
      return Object.fromEntries(shown.slice(0, 6).map(([key, field]) => [key, this.example(field, depth + 1)]));
    }
    if (object.type === "integer" || object.type === "number") return object.minimum || 1;
    if (object.type === "boolean") return false;
    if (object.type === "object") return {};
    if (object.format === "uuid") return "01999999-9999-7999-8999-999999999999";
    if (object.format === "date-time") return "2026-11-20T21:05:09Z";
    return "text";
  }

  curl(method, path, operation) {
    const filled = path.replace(/\{(\w+)\}/g, (_, name) => `$${name.toUpperCase()}`);
    const lines = [`curl${method === "get" ? "" : ` -X ${method.toUpperCase()}`} "${location.origin}${filled}"`];
    if (!operation.security) lines.push('-H "Authorization: Bearer $TOKEN"');
    const content = (operation.requestBody || {}).content || {};
    if (content["application/json"]) {
      const body = JSON.stringify(this.example(content["application/json"].schema));
      lines.push('-H "Content-Type: application/json"', `-d '${body.replace(/'/g, "'\\''")}'`);
    } else if (content["multipart/form-data"]) {
      lines.push('-F "description=Our holiday"', '-F "file=@holiday.jpg"');
    }
    return lines.join(" \\\n  ");
  }

  parameters(operation) {
    const parameters = (operation.parameters || []).map((parameter) => this.resolve(parameter));
    if (!parameters.length) return [];
    const rows = parameters.map((parameter) => h("tr", {},
      h("td", {}, h("code", { class: parameter.required ? "required" : undefined }, parameter.name)),
      h("td", {}, parameter.in),
      h("td", {}, this.typeText(parameter.schema)),
      h("td", {}, inline(parameter.description || this.describe(parameter.schema || {})),
        this.limits(parameter.schema) ? h("div", { class: "dim" }, this.limits(parameter.schema)) : null)));
    return [h("h4", {}, "Parameters"), h("div", { class: "scroll" }, this.table(["Name", "In", "Type", "Meaning"], rows))];
  }

  requestBody(operation) {
    const content = Object.entries((operation.requestBody || {}).content || {});
    return content.flatMap(([type, media]) => [
      h("h4", {}, "Request body ", h("code", {}, type), operation.requestBody.required ? "" : " (optional)"),
      this.fields(media.schema),
    ]);
  }

  responses(operation) {
    const rows = Object.entries(operation.responses || {}).map(([status, value]) => {
      const response = this.resolve(value);
      const media = Object.entries(response.content || {});
      const name = media.length ? media.map(([type, one]) => `${this.typeText(one.schema)} (${type})`).join(", ") : "";
      return h("tr", {},
        h("td", {}, h("code", {}, status)),
        h("td", {}, inline(response.description)),
        h("td", { class: "dim" }, name));
    });
    const success = Object.entries(operation.responses || {}).find(([status]) => status.startsWith("2"));
    const media = success && (this.resolve(success[1]).content || {})["application/json"];
    const shape = media && this.resolve(this.nonNull(media.schema)[0]).properties
      ? h("details", {}, h("summary", {}, `Fields of ${this.typeText(media.schema)}`), this.fields(media.schema))
      : null;
    return [h("h4", {}, "Answers"), h("div", { class: "scroll" }, this.table(["Status", "Meaning", "Body"], rows)), shape];
  }

  operation(method, path, operation) {
    const auth = operation.security ? "No token needed." : "";
    return h("article", { id: operation.operationId },
      h("h3", {}, operation.summary || operation.operationId),
      h("div", { class: "route" }, h("span", { class: `method ${method}` }, method), path),
      prose(operation.description),
      auth ? h("p", { class: "dim" }, auth) : null,
      this.parameters(operation),
      this.requestBody(operation),
      this.responses(operation),
      h("h4", {}, "Example"),
      h("pre", {}, h("code", {}, this.curl(method, path, operation))));
  }

  /** `{tag: [{method, path, operation}]}` in the order of the document's tags. */
  groups() {
    const groups = new Map((this.api.tags || []).map((tag) => [tag.name, []]));
    for (const [path, item] of Object.entries(this.api.paths || {})) {
      for (const method of METHODS.filter((name) => item[name])) {
        const operation = item[method];
        const tag = (operation.tags || ["other"])[0];
        if (!groups.has(tag)) groups.set(tag, []);
        groups.get(tag).push({ method, path, operation });
      }
    }
    return [...groups].filter(([, operations]) => operations.length);
  }

  render() {
    document.title = `${this.api.info.title} API reference`;
    document.getElementById("version").textContent = this.api.info.version;
    const index = document.getElementById("index");
    const content = document.getElementById("content");
    index.replaceChildren();
    content.replaceChildren(
      h("h1", {}, `${this.api.info.title} API`), h("div", {}, prose(this.api.info.description)),
      h("p", {}, "Machines read ", h("a", { href: "/openapi.json" }, "openapi.json"), "."));
    for (const [tag, operations] of this.groups()) {
      const about = (this.api.tags || []).find((one) => one.name === tag);
      const links = operations.map(({ method, path, operation }) => h("li", {
        "data-id": operation.operationId,
        "data-text": [method, path, operation.operationId, operation.summary, operation.description, tag].join(" ").toLowerCase(),
      }, h("a", { href: `#${operation.operationId}`, title: path },
        h("span", { class: `method ${method}` }, method), operation.summary || path)));
      index.append(h("section", {}, h("h2", {}, tag), h("ul", {}, links)));
      content.append(h("section", { class: "tag" },
        h("h2", {}, tag), about ? h("p", { class: "dim" }, about.description) : null,
        operations.map(({ method, path, operation }) => this.operation(method, path, operation))));
    }
    if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
  }
}

/** Shows the operations that contain every word. */
function search(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  for (const item of document.querySelectorAll("#index li")) {
    const hidden = !words.every((word) => item.dataset.text.includes(word));
    item.hidden = hidden;
    document.getElementById(item.dataset.id).hidden = hidden;
  }
  for (const section of document.querySelectorAll("#index section, section.tag")) {
    section.hidden = !section.querySelector("li:not([hidden]), article:not([hidden])");
  }
}

const box = document.getElementById("search");
box.addEventListener("input", () => search(box.value));
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== box) {
    event.preventDefault();
    box.focus();
  } else if (event.key === "Escape" && document.activeElement === box) {
    box.value = "";
    search("");
    box.blur();
  }
});

fetch("/openapi.json")
  .then((answer) => {
    if (!answer.ok) throw new Error(`openapi.json answered ${answer.status}`);
    return answer.json();
  })
  .then((api) => new Reference(api).render())
  .catch((error) => {
    document.getElementById("content").replaceChildren(h("p", {}, `The reference could not be loaded: ${error.message}`));
  });
