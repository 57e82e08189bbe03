/** The generated TypeScript, from structs, enums, maps and config globals. Pure: text in, text out, sorted by name. */
import type { ConfigGlobal, Enum, Field, FieldType, MapDefinition, ScalarType, Struct } from './btf.ts';
import type { HeaderText } from './headers.ts';

export interface Layout {
  readonly structs: readonly Struct[];
  readonly enums: readonly Enum[];
  readonly maps: readonly MapDefinition[];
  readonly config: readonly ConfigGlobal[];
  readonly headers: HeaderText;
}

export function emitLayout(layout: Layout, preamble: string): string {
  const { structs, enums, maps, config, headers } = layout;
  const codecs = structs.filter((struct) => !isBytes(struct));
  return [
    preamble.trimEnd(),
    '',
    '// ---- enums ----',
    ...enums.map((e) => emitEnum(e, headers)),
    '',
    '// ---- byte strings ----',
    ...[...headers.bytes].map(
      ([name, bytes]) => `export const ${name}: Readonly<Uint8Array> = Uint8Array.of(${bytes.join(', ')});`,
    ),
    '',
    '// ---- structs ----',
    ...codecs.map((struct) => emitStruct(struct, headers)),
    '',
    '// ---- maps ----',
    emitMaps(maps, new Set(codecs.map((struct) => struct.name))),
    '',
    '// ---- configuration ----',
    emitConfig(config),
    '',
  ].join('\n');
}

function emitEnum(e: Enum, headers: HeaderText): string {
  const type = pascal(e.name);
  const doc = headers.types.get(`enum ${e.name}`);
  const docs = e.values.filter((value) => headers.constants.has(value.name));
  const lines = [
    '',
    ...docLines(doc, ''),
    `export const ${type} = {`,
    ...e.values.flatMap((v) => [...docLines(headers.constants.get(v.name), '  '), `  ${v.name}: ${v.value},`]),
    '} as const;',
    `export type ${type} = (typeof ${type})[keyof typeof ${type}];`,
  ];
  const named = e.values.filter((v) => !v.name.endsWith('_COUNT'));
  if (new Set(named.map((v) => v.value)).size === named.length) {
    lines.push(
      `export const ${camel(e.name)}Name: Readonly<Record<number, string>> = {`,
      ...named.map((v) => `  ${v.value}: '${v.name}',`),
      '};',
    );
  }
  if (docs.length > 0) {
    lines.push(
      `export const ${e.name.toUpperCase()}_DOC: Readonly<Record<number, string>> = {`,
      ...docs.map((v) => `  ${v.value}: ${JSON.stringify(headers.constants.get(v.name))},`),
      '};',
    );
  }
  return lines.join('\n');
}

function emitStruct(struct: Struct, headers: HeaderText): string {
  const type = pascal(struct.name);
  const fields = struct.fields.filter((field) => !isPad(field));
  return [
    '',
    ...docLines(headers.types.get(`struct ${struct.name}`), ''),
    `export interface ${type} {`,
    ...fields.flatMap((field) => [
      ...docLines(fieldDoc(field), '  '),
      `  ${camel(field.name)}: ${typeName(field.type)};`,
    ]),
    '}',
    `export const ${camel(struct.name)}: Codec<${type}> = codec<${type}>(${struct.size}, {`,
    '  write(value, view, at) {',
    ...struct.fields.map((field) =>
      isPad(field)
        ? `    zero(view, at + ${field.offset}, ${field.type.size});`
        : `    ${writer(field.type, `at + ${field.offset}`, `value.${camel(field.name)}`, `'${type}.${camel(field.name)}'`)};`,
    ),
    '  },',
    '  read(view, at) {',
    '    return {',
    ...fields.map((field) => `      ${camel(field.name)}: ${reader(field.type, `at + ${field.offset}`)},`),
    '    };',
    '  },',
    '});',
  ].join('\n');
}

function emitMaps(maps: readonly MapDefinition[], structs: ReadonlySet<string>): string {
  const codecOf = (name: string | undefined): string => {
    if (name === undefined) return 'undefined';
    return structs.has(name) ? camel(name) : `'${name}'`;
  };
  const rows = maps.map(
    (map) =>
      `  ${map.name}: { name: '${map.name}', type: ${map.type}, keySize: ${map.keySize}, valueSize: ${map.valueSize}, ` +
      `maxEntries: ${map.maxEntries}, key: ${codecOf(map.keyType)}, value: ${codecOf(map.valueType)} },`,
  );
  return ['/** Every map of the programs; the key is also the name of its pin. */', 'export const MAPS = {', ...rows]
    .concat('} as const;', 'export type MapName = keyof typeof MAPS;')
    .join('\n');
}

function emitConfig(config: readonly ConfigGlobal[]): string {
  const lines = [
    '/** Read-only globals of the programs, set before loading (bpf/config.h). */',
    'export interface DatapathConfig {',
  ];
  for (const one of config) lines.push(...docLines(one.doc, '  '), `  ${camel(one.name)}: ${scalarName(one.type)};`);
  lines.push(
    '}',
    '/** Name of each global in the object, its bytes, and what it means. */',
    'export const CONFIG_GLOBALS = {',
  );
  for (const one of config) {
    const doc = JSON.stringify(one.doc ?? '');
    lines.push(`  ${camel(one.name)}: { global: 'config_${one.name}', size: ${one.type.size}, doc: ${doc} },`);
  }
  return lines.concat('} as const satisfies Record<keyof DatapathConfig, ConfigGlobal>;').join('\n');
}

function typeName(type: FieldType): string {
  switch (type.kind) {
    case 'scalar':
      return scalarName(type);
    case 'bytes':
      return 'Uint8Array';
    case 'array':
      return `${typeName(type.element)}[]`;
    case 'struct':
      return pascal(type.name);
  }
}

function scalarName(type: ScalarType): string {
  return type.size === 8 ? 'bigint' : 'number';
}

function writer(type: FieldType, at: string, value: string, where: string): string {
  switch (type.kind) {
    case 'scalar':
      return `set${8 * type.size}(view, ${at}, ${value}, ${endian(type)}${where})`;
    case 'bytes':
      return `setBytes(view, ${at}, ${type.size}, ${value}, ${where})`;
    case 'array': {
      const one = writer(type.element, `${at} + ${type.element.size} * i`, 'one', where);
      return `each(${value}, ${type.length}, ${where}, (one, i) => ${one})`;
    }
    case 'struct':
      return `${camel(type.name)}.write(${value}, view, ${at})`;
  }
}

function reader(type: FieldType, at: string): string {
  switch (type.kind) {
    case 'scalar':
      return type.size === 1 ? `view.getUint8(${at})` : `view.get${scalarAccess(type)}(${at}, ${order(type)})`;
    case 'bytes':
      return `getBytes(view, ${at}, ${type.size})`;
    case 'array':
      return `Array.from({ length: ${type.length} }, (_, i) => ${reader(type.element, `${at} + ${type.element.size} * i`)})`;
    case 'struct':
      return `${camel(type.name)}.read(view, ${at})`;
  }
}

function scalarAccess(type: ScalarType): string {
  return type.size === 8 ? 'BigUint64' : `Uint${8 * type.size}`;
}

/** The argument `littleEndian` of DataView. */
function order(type: ScalarType): string {
  return type.network ? 'NETWORK' : 'HOST';
}

function endian(type: ScalarType): string {
  return type.size === 1 ? '' : `${order(type)}, `;
}

function isPad(field: Field): boolean {
  return field.name === 'pad';
}

function isBytes(struct: Struct): boolean {
  return struct.fields.length === 1 && struct.fields[0]?.name === 'bytes';
}

function fieldDoc(field: Field): string | undefined {
  if (field.type.kind !== 'scalar' || !field.type.network) return field.doc;
  return field.doc === undefined ? 'host order' : `${field.doc}; host order`;
}

function docLines(doc: string | undefined, indent: string): string[] {
  return doc === undefined ? [] : [`${indent}/** ${doc} */`];
}

function pascal(name: string): string {
  return name.replace(/(?:^|_)([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

function camel(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}
