/**
 * BTF as `bpftool -j btf dump file` prints it, read into the few shapes the generator needs. Whatever has no obvious
 * form in TypeScript (bitfields, pointers, unions) stops with the name of the field.
 */

/** One type as bpftool prints it; which members are there depends on `kind`. */
interface RawType {
  readonly id: number;
  readonly kind: string;
  readonly name: string;
  readonly size?: number;
  readonly type_id?: number;
  readonly nr_elems?: number;
  readonly component_idx?: number;
  readonly members?: readonly { name: string; type_id: number; bits_offset: number; bitfield_size?: number }[];
  readonly values?: readonly { name: string; val: number }[];
  readonly vars?: readonly { type_id: number; offset: number; size: number }[];
}

/** Unsigned number of 1, 2, 4 or 8 bytes; `network` when its C type is __be16, __be32 or __be64. */
export interface ScalarType {
  readonly kind: 'scalar';
  readonly size: 1 | 2 | 4 | 8;
  readonly network: boolean;
}
/** Raw bytes: an array of __u8, or a struct of nothing but `bytes` (ip_address, mac_address). */
export interface BytesType {
  readonly kind: 'bytes';
  readonly size: number;
}
export interface ArrayType {
  readonly kind: 'array';
  readonly size: number;
  readonly element: FieldType;
  readonly length: number;
}
export interface NestedType {
  readonly kind: 'struct';
  readonly size: number;
  readonly name: string;
}
export type FieldType = ScalarType | BytesType | ArrayType | NestedType;

export interface Field {
  readonly name: string;
  readonly offset: number;
  readonly type: FieldType;
  readonly doc: string | undefined;
}
export interface Struct {
  readonly name: string;
  readonly size: number;
  readonly fields: readonly Field[];
}
export interface Enum {
  readonly name: string;
  readonly values: readonly { readonly name: string; readonly value: number }[];
}
export interface MapDefinition {
  readonly name: string;
  /** Number of enum bpf_map_type. */
  readonly type: number;
  readonly keySize: number;
  readonly valueSize: number;
  /** C type names, undefined where the map has none (ring buffer, program array). */
  readonly keyType: string | undefined;
  readonly valueType: string | undefined;
  readonly maxEntries: number;
}
export interface ConfigGlobal {
  readonly name: string;
  readonly type: ScalarType;
  readonly doc: string | undefined;
}

const CONFIG_PREFIX = 'config_';

/** The types of one object file. */
export class Btf {
  readonly #types = new Map<number, RawType>();
  readonly #docs = new Map<string, string>();

  constructor(json: string) {
    const { types } = JSON.parse(json) as { types: RawType[] };
    for (const type of types) {
      this.#types.set(type.id, type);
      if (type.kind === 'DECL_TAG' && type.name.startsWith('doc:')) {
        this.#docs.set(`${type.type_id}.${type.component_idx}`, type.name.slice('doc:'.length));
      }
    }
  }

  structs(): Struct[] {
    return this.#named('STRUCT').map((raw) => ({
      name: raw.name,
      size: raw.size ?? 0,
      fields: (raw.members ?? []).map((member, i) => {
        const where = `${raw.name}.${member.name}`;
        if (member.bitfield_size) throw new Error(`${where}: bitfields have no codec, use a flags word`);
        return {
          name: member.name,
          offset: member.bits_offset / 8,
          type: this.#fieldType(member.type_id, where),
          doc: this.#docs.get(`${raw.id}.${i}`),
        };
      }),
    }));
  }

  enums(): Enum[] {
    return this.#named('ENUM').map((raw) => ({
      name: raw.name,
      values: (raw.values ?? []).map(({ name, val }) => ({ name, value: val })),
    }));
  }

  /** The maps of a program object, from the BTF of its `.maps` section. */
  maps(): MapDefinition[] {
    return this.#variables('.maps').map((variable) => {
      const members = new Map((this.#type(variable.type_id ?? 0).members ?? []).map((m) => [m.name, m.type_id]));
      /* __uint(name, n) is a pointer to an array of n elements, __type(name, t) a pointer to t: bpf_helpers.h */
      const uint = (name: string): number | undefined => {
        const id = members.get(name);
        return id === undefined ? undefined : this.#type(this.#type(id).type_id ?? 0).nr_elems;
      };
      const target = (name: string): { size: number; name: string } | undefined => {
        const id = members.get(name);
        if (id === undefined) return undefined;
        const pointee = this.#type(id).type_id ?? 0;
        return { size: this.#sizeOf(pointee), name: this.#type(pointee).name };
      };
      const key = target('key');
      const value = target('value');
      return {
        name: variable.name,
        type: uint('type') ?? 0,
        keySize: key?.size ?? uint('key_size') ?? 0,
        valueSize: value?.size ?? uint('value_size') ?? 0,
        keyType: key?.name,
        valueType: value?.name,
        maxEntries: uint('max_entries') ?? 0,
      };
    });
  }

  /** The `config_` globals of a program object (DECLARE_CONFIG), without the prefix. */
  config(): ConfigGlobal[] {
    return this.#variables('.rodata')
      .filter((variable) => variable.name.startsWith(CONFIG_PREFIX))
      .map((variable) => {
        const type = this.#fieldType(variable.type_id ?? 0, variable.name);
        if (type.kind !== 'scalar') throw new Error(`${variable.name}: a config global must be a number`);
        return { name: variable.name.slice(CONFIG_PREFIX.length), type, doc: this.#docs.get(`${variable.id}.-1`) };
      });
  }

  #fieldType(id: number, where: string): FieldType {
    const raw = this.#type(id);
    if (raw.kind === 'TYPEDEF' && /^__be(16|32|64)$/.test(raw.name)) {
      return { kind: 'scalar', size: this.#sizeOf(id) as 2 | 4 | 8, network: true };
    }
    if (raw.kind === 'TYPEDEF' || raw.kind === 'CONST' || raw.kind === 'VOLATILE') {
      return this.#fieldType(raw.type_id ?? 0, where);
    }
    if (raw.kind === 'INT' || raw.kind === 'ENUM') {
      return { kind: 'scalar', size: this.#sizeOf(id) as 1 | 2 | 4 | 8, network: false };
    }
    if (raw.kind === 'ARRAY') {
      const element = this.#fieldType(raw.type_id ?? 0, where);
      const size = this.#sizeOf(id);
      if (element.kind === 'scalar' && element.size === 1) return { kind: 'bytes', size };
      return { kind: 'array', size, element, length: raw.nr_elems ?? 0 };
    }
    if (raw.kind === 'STRUCT') {
      const only = raw.members?.length === 1 ? raw.members[0] : undefined;
      if (only?.name === 'bytes') return { kind: 'bytes', size: raw.size ?? 0 };
      return { kind: 'struct', size: raw.size ?? 0, name: raw.name };
    }
    throw new Error(`${where}: a ${raw.kind.toLowerCase()} has no codec`);
  }

  #sizeOf(id: number): number {
    const raw = this.#type(id);
    if (raw.kind === 'ARRAY') return (raw.nr_elems ?? 0) * this.#sizeOf(raw.type_id ?? 0);
    return raw.size ?? this.#sizeOf(raw.type_id ?? 0);
  }

  #named(kind: string): RawType[] {
    return [...this.#types.values()].filter((type) => type.kind === kind && type.name !== '(anon)').sort(byName);
  }

  #variables(section: string): RawType[] {
    const found = [...this.#types.values()].find((type) => type.kind === 'DATASEC' && type.name === section);
    return (found?.vars ?? []).map((variable) => this.#type(variable.type_id)).sort(byName);
  }

  #type(id: number): RawType {
    const found = this.#types.get(id);
    if (!found) throw new Error(`BTF has no type ${id}`);
    return found;
  }
}

function byName(a: { name: string }, b: { name: string }): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}
