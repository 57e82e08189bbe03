/**
 * nft, the program, for our one table: loading is one transaction, and what is printed right after tells later whether
 * somebody changed it, without understanding a word of it. It is started only when the kernel's generation of the
 * namespace's rules is another than when it printed last: forking the agent takes milliseconds.
 */
import { spawn } from 'node:child_process';
import { nftablesGeneration } from '../../native/index.ts';
import { WeirError } from '../errors.ts';
import { NFT_TABLE } from './names.ts';
import { deleteRulesText } from './rules.ts';

const TIMEOUT_MS = 10_000;

export interface Rules {
  state(): Promise<{ readonly rules: 'absent' | 'as loaded' | 'different'; readonly loadedRules: string | undefined }>;
  load(text: string): Promise<void>;
  delete(): Promise<void>;
}

/** `netns`: a path such as /run/netns/x; undefined: this process's own. */
export function createRules(netns: string | undefined): Rules {
  let loaded: { readonly text: string; readonly printed: string } | undefined;
  let last: { readonly generation: number; readonly printed: string } | undefined;
  /** The table as it is; '' for none. */
  const print = async (): Promise<string> => {
    // Asked before: what changes while nft reads is looked at the next time.
    const generation = await nftablesGeneration({ netns });
    if (generation === last?.generation) return last.printed;
    const { code, stdout, stderr } = await runNft(netns, ['-s', 'list', 'table', 'inet', NFT_TABLE]);
    if (code !== 0 && !/No such file or directory/.test(stderr)) throw failed('list', stderr);
    const printed = code === 0 ? stdout : '';
    last = { generation, printed };
    return printed;
  };
  const change = async (text: string): Promise<void> => {
    const { code, stderr } = await runNft(netns, ['-f', '-'], text);
    if (code !== 0) throw failed('load', stderr);
  };
  return {
    async state() {
      const printed = await print();
      const rules = printed === '' ? 'absent' : printed === loaded?.printed ? 'as loaded' : 'different';
      return { rules, loadedRules: loaded?.text };
    },
    async load(text) {
      await change(text);
      loaded = { text, printed: await print() };
    },
    async delete() {
      await change(deleteRulesText());
      loaded = undefined;
    },
  };
}

/** Every chain of the namespace as `nft -j` gives it: who else filters here. */
export async function listChains(netns: string | undefined): Promise<unknown> {
  const { code, stdout, stderr } = await runNft(netns, ['-j', 'list', 'chains']);
  if (code !== 0) throw failed('list chains', stderr);
  return JSON.parse(stdout);
}

/** One table as nft prints it, without counters. */
export async function listTable(family: string, table: string, netns: string | undefined): Promise<string> {
  const { code, stdout, stderr } = await runNft(netns, ['-s', 'list', 'table', family, table]);
  if (code !== 0) throw failed('list table', stderr);
  return stdout;
}

interface Answer {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** @throws WeirError NETWORK_FAILED when there is no such program, or it does not end */
function runNft(netns: string | undefined, args: readonly string[], input = ''): Promise<Answer> {
  const words = [...(netns === undefined ? [] : ['nsenter', `--net=${netns}`, '--']), 'nft', ...args];
  const [program = '', ...rest] = words;
  return new Promise((resolve, reject) => {
    const child = spawn(program, rest, {
      timeout: TIMEOUT_MS,
      killSignal: 'SIGKILL',
      env: { PATH: process.env.PATH, LC_ALL: 'C' },
    });
    const [stdout, stderr]: [Buffer[], Buffer[]] = [[], []];
    child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
    child.stdin.on('error', () => {}); // It ended without reading: its exit code says why.
    child.on('error', (cause) =>
      reject(new WeirError('NETWORK_FAILED', 'run nft', 'nft (package nftables) cannot be started', { cause })),
    );
    child.on('close', (code, signal) => {
      if (signal === null)
        resolve({ code, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() });
      else
        reject(new WeirError('NETWORK_FAILED', 'run nft', `nft ended with ${signal} (it may take ${TIMEOUT_MS} ms)`));
    });
    child.stdin.end(input);
  });
}

function failed(what: string, stderr: string): WeirError {
  return new WeirError('NETWORK_FAILED', `nft ${what}`, `nft refuses: ${stderr.trim().split('\n')[0] ?? ''}`, {
    details: stderr,
  });
}
