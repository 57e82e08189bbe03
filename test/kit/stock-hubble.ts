/** The unmodified `hubble` client (stock.ts). */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { type CommandResult, tryCommand } from './command.ts';
import type { Netns } from './netns.ts';
import { stockProgram } from './stock.ts';
import { until } from './until.ts';

/** GetFlowsResponse as the client prints it with -o jsonpb; only what tests look at. */
export interface PrintedLine {
  readonly flow?: PrintedFlow;
  readonly lost_events?: { readonly source: string; readonly num_events_lost: string };
  /** Of a relay; the client prints it on stderr. */
  readonly node_status?: { readonly state_change: string; readonly node_names: readonly string[] };
  readonly node_name?: string;
  readonly time?: string;
}

export interface PrintedParty {
  readonly namespace?: string;
  readonly pod_name?: string;
  readonly identity?: number;
  readonly labels?: readonly string[];
}

export interface PrintedService {
  readonly name: string;
  readonly namespace: string;
}

export interface PrintedFlow {
  readonly time: string;
  readonly uuid: string;
  readonly node_name?: string;
  readonly verdict: string;
  readonly drop_reason_desc?: string;
  readonly IP?: {
    readonly source: string;
    readonly destination: string;
    readonly ipVersion: string;
    readonly source_xlated?: string;
  };
  readonly l4?: Readonly<Record<string, { readonly source_port?: number; readonly destination_port?: number }>>;
  readonly source?: PrintedParty;
  readonly destination?: PrintedParty;
  readonly is_reply?: boolean;
  readonly source_service?: PrintedService;
  readonly destination_service?: PrintedService;
  readonly traffic_direction?: string;
  readonly trace_reason?: string;
  readonly policy_match_type?: number;
  readonly interface?: { readonly index: number; readonly name?: string };
  readonly Summary?: string;
  readonly egress_allowed_by?: readonly { readonly name: string }[];
  readonly ingress_allowed_by?: readonly { readonly name: string }[];
  readonly ingress_denied_by?: readonly { readonly name: string }[];
  readonly egress_denied_by?: readonly { readonly name: string }[];
}

export interface HubbleCaller {
  /** "unix:///run/weir/hubble.sock", "tls://127.0.0.1:4244". */
  readonly server: string;
  /** Flags for every call. */
  readonly flags?: readonly string[];
  /** Where the client runs. */
  readonly netns?: Netns;
  /** For the client's own settings: an empty folder. */
  readonly home: string;
}

export class StockHubble {
  readonly #caller: HubbleCaller;

  constructor(caller: HubbleCaller) {
    this.#caller = caller;
  }

  /** Runs it to its end, whatever comes of it. */
  run(...args: string[]): Promise<CommandResult> {
    return tryCommand(this.words(args), { env: this.#env(), timeoutMs: 30_000 });
  }

  /** Its stdout; rejects on an exit code other than 0. */
  async say(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(...args);
    if (code !== 0) throw new Error(`hubble ${args.join(' ')}: exit code ${code}\n${stdout}${stderr}`);
    return stdout;
  }

  /** `hubble observe -o jsonpb`: the flows. */
  async observe(...args: string[]): Promise<PrintedFlow[]> {
    const lines = await this.say('observe', '-o', 'jsonpb', ...args);
    return lines
      .split('\n')
      .filter((line) => line !== '')
      .flatMap((line) => (JSON.parse(line) as PrintedLine).flow ?? []);
  }

  /** `hubble observe --follow -o jsonpb`, until it is disposed of. */
  follow(...args: string[]): FollowedHubble {
    return new FollowedHubble(this.words(['observe', '--follow', '-o', 'jsonpb', ...args]), this.#env());
  }

  /** The words of a call. */
  words(args: readonly string[]): string[] {
    const words = [stockProgram('hubble'), '--server', this.#caller.server, ...(this.#caller.flags ?? []), ...args];
    return this.#caller.netns?.enter(words) ?? words;
  }

  #env(): Record<string, string> {
    return { HOME: this.#caller.home, XDG_CONFIG_HOME: this.#caller.home };
  }
}

export class FollowedHubble implements AsyncDisposable {
  readonly flows: PrintedFlow[] = [];
  readonly #child;
  readonly #ended: Promise<unknown>;
  #said = '';

  constructor(words: readonly string[], env: Record<string, string>) {
    const [program = '', ...args] = words;
    this.#child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
    this.#ended = new Promise((resolve) => this.#child.once('close', resolve));
    createInterface(this.#child.stdout).on('line', (line) => {
      const { flow } = JSON.parse(line) as PrintedLine;
      if (flow !== undefined) this.flows.push(flow);
    });
    this.#child.stderr.on('data', (chunk: Buffer) => {
      this.#said += chunk.toString();
    });
  }

  has(what: string, wanted: (flow: PrintedFlow) => boolean): Promise<PrintedFlow> {
    return until(() => this.flows.find(wanted), {
      what: `hubble observe --follow to show ${what}`,
      detail: () => `${this.#said}${this.flows.map((flow) => JSON.stringify(flow)).join('\n')}`,
    });
  }

  /** What it wrote to stderr so far. */
  get said(): string {
    return this.#said;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGINT');
    await this.#ended;
  }
}
