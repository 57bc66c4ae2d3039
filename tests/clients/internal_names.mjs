// Prints a line for each use of a short name in the bundle of the client that would break something: see clients/js/internal.mjs.
import { createRequire } from "node:module";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

const client = process.argv[2] ?? join(dirname(fileURLToPath(import.meta.url)), "../../clients/js");
const ts = createRequire(join(client, "package.json"))("typescript");
const { INTERNAL, OF_THE_BROWSER, OF_THE_WIDGET } = await import(join(client, "internal.mjs"));
const internal = new Set(INTERNAL);
const ofWidget = new Set([...OF_THE_WIDGET, ...INTERNAL.filter((name) => !OF_THE_BROWSER.includes(name))]);

const { config } = ts.readConfigFile(join(client, "tsconfig.json"), ts.sys.readFile);
const { fileNames, options } = ts.parseJsonConfigFileContent(config, ts.sys, client);
const program = ts.createProgram([...fileNames, join(client, "types/index.d.ts"), join(client, "types/events.d.ts")], options);
const checker = program.getTypeChecker();
const found = new Set();
const used = new Set();

/** Entries of their own, whose bundles have no short names. */
const ENTRIES = ["/embed.js", "/commands.js"];
const isIn = (folder, file) => file.fileName.startsWith(join(client, folder) + sep);
const sources = program.getSourceFiles().filter((file) => isIn("src", file) && !ENTRIES.some((name) => file.fileName.endsWith(name)));
const isOwn = (symbol) => (symbol?.declarations ?? []).some((node) => isIn("src", node.getSourceFile()) || isIn("types", node.getSourceFile()));

function complain(node, text) {
  const file = node.getSourceFile();
  found.add(`${relative(client, file.fileName)}:${file.getLineAndCharacterOfPosition(node.getStart()).line + 1}: ${text}`);
}

/** Return whether a bundle that has this file has a short name for a member. */
const isShort = (name, file) => (isIn("src/widget", file) ? ofWidget : internal).has(name);

/** Note a member of this name of a type: it has to be known, and declared by the client. */
function checkMember(name, type, node) {
  used.add(name.text);
  const parts = type.isUnion() ? type.types : [type];
  for (const part of parts) {
    if (part.flags & ts.TypeFlags.Any) complain(node, `${name.text} of an object whose type is not known`);
    const symbol = checker.getPropertyOfType(checker.getApparentType(part), name.text);
    if (symbol && !isOwn(symbol)) complain(node, `${name.text} of an object that the client did not make`);
  }
}

/** Complain of every member within a type, at any depth. */
function checkShape(type, what, node, seen = new Set()) {
  if (seen.has(type)) return;
  seen.add(type);
  if (type.isUnionOrIntersection()) for (const part of type.types) checkShape(part, what, node, seen);
  for (const argument of checker.getTypeArguments?.(type.target ? type : {}) ?? []) checkShape(argument, what, node, seen);
  for (const argument of type.aliasTypeArguments ?? []) checkShape(argument, what, node, seen);
  for (const kind of [ts.SignatureKind.Call, ts.SignatureKind.Construct]) {
    for (const signature of checker.getSignaturesOfType(type, kind)) {
      if (!isIn("src", signature.declaration.getSourceFile()) && !isIn("types", signature.declaration.getSourceFile())) continue;
      for (const parameter of signature.parameters) checkShape(checker.getTypeOfSymbol(parameter), what, node, seen);
      checkShape(checker.getReturnTypeOfSignature(signature), what, node, seen);
    }
  }
  for (const symbol of checker.getPropertiesOfType(type)) {
    if (!isOwn(symbol)) continue;
    if (internal.has(symbol.name)) complain(symbol.declarations[0], `${symbol.name} is ${what}`);
    checkShape(checker.getTypeOfSymbol(symbol), what, node, seen);
  }
}

/** What is sent: to the gateway, to other tabs, and to the page. */
const SENT = { post: "sent to other tabs", postMessage: "sent to other tabs", send: "sent to the gateway", request: "sent to the gateway", emit: "told to the page" };

function visit(node) {
  const file = node.getSourceFile();
  if (ts.isPropertyAccessExpression(node) && OF_THE_WIDGET.includes(node.name.text) && !isIn("src/widget", file)) {
    complain(node, `${node.name.text} is a short name of the widget`);
  }
  if (ts.isPropertyAccessExpression(node) && isShort(node.name.text, file)) {
    checkMember(node.name, checker.getTypeAtLocation(node.expression), node);
  }
  if (ts.isBindingElement(node) && ts.isObjectBindingPattern(node.parent)) {
    const name = node.propertyName ?? node.name;
    if (ts.isIdentifier(name) && isShort(name.text, file)) checkMember(name, checker.getTypeAtLocation(node.parent), node);
  }
  if (ts.isObjectLiteralElementLike(node) && node.name && ts.isIdentifier(node.name) && isShort(node.name.text, file)) {
    const type = checker.getContextualType(node.parent);
    if (type) checkMember(node.name, type, node);
  }
  if (ts.isElementAccessExpression(node) && ts.isStringLiteral(node.argumentExpression) && internal.has(node.argumentExpression.text)) {
    complain(node, `${node.argumentExpression.text} by a text`);
  }
  if (ts.isCallExpression(node)) {
    const callee = node.expression;
    const name = ts.isPropertyAccessExpression(callee) ? callee.name.text : ts.isIdentifier(callee) ? callee.text : "";
    // The last argument of a request says how it is sent.
    const sent = node.arguments.slice(0, name === "request" ? 2 : undefined);
    if (Object.hasOwn(SENT, name)) for (const argument of sent) checkShape(checker.getTypeAtLocation(argument), SENT[name], argument);
  }
  ts.forEachChild(node, visit);
}
for (const file of sources) visit(file);

const exported = (path) => checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(join(client, path))));
for (const symbol of [...exported("types/index.d.ts"), ...exported("types/events.d.ts")]) {
  const real = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
  for (const type of [checker.getDeclaredTypeOfSymbol(real), checker.getTypeOfSymbol(real)]) {
    checkShape(type, "part of the public types", real.declarations[0]);
  }
}
// What tabs have of each other's state.
for (const name of ["State", "LinkStatus", "Message", "Position"]) {
  const symbol = exported("src/types.js").find((one) => one.name === name);
  checkShape(checker.getDeclaredTypeOfSymbol(symbol), "sent to other tabs", symbol.declarations[0]);
}
for (const name of [...internal, ...ofWidget]) if (!used.has(name)) found.add(`internal.mjs: ${name} is no member that is used`);
for (const line of [...found].sort()) console.log(line);
process.exitCode = found.size ? 1 : 0;
