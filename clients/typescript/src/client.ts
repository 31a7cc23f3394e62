// The client: fetch only, so it runs in browsers, Node, Deno and Bun alike.

import { JobCanceled, JobExpired, JobFailed, Unreachable, apiError } from "./errors.js";
import type { components } from "./schema.js";

type Schemas = components["schemas"];
export type Job = Schemas["Job"];
export type JobState = Schemas["JobState"];
export type Spec = Schemas["Spec"];
/** What is to change in a dream on its way. */
export type Steering = Schemas["SteeringRequest"];

/** A file that was chosen or dropped, or a file's bytes. */
export type PictureFile = Blob | ArrayBuffer | Uint8Array<ArrayBuffer>;

/** A picture that was sent ahead; any number of submissions may name it until it expires, after an hour. */
export class Upload {
    constructor(
        readonly id: string,
        /** RFC 3339. */
        readonly expiresAt: string,
    ) {}
}

/** A picture: a file, or one that was sent ahead. */
export type Picture = PictureFile | Upload;

export interface Options {
    /** The server; by default the page's own. */
    url?: string;
    /** An API key, where the server asks for one. */
    key?: string;
    /** Another `fetch`, for proxies and tests. */
    fetch?: typeof fetch;
}

export interface SubmitOptions {
    mask?: Picture;
    /** What the dream takes up, where an objective is of kind `guide` or `guide-cosine`. */
    guide?: Picture;
    priority?: number;
    deadlineSeconds?: number;
    /** Makes one job of a submission that is sent twice; by default a new one each time. */
    idempotencyKey?: string;
    /** Where the server tells that the job has ended. */
    webhook?: string;
    webhookEvents?: JobState[];
    signal?: AbortSignal;
}

export interface WaitOptions {
    /** Called with the job every `poll` milliseconds. */
    onProgress?: (job: Job) => void;
    poll?: number;
    signal?: AbortSignal;
}

/** A finished dream. */
export interface Dream {
    job: Job;
    /** The file, in the format that the spec asked for. */
    picture: Blob;
}

interface Request {
    method?: string;
    headers?: Record<string, string>;
    body?: FormData | Blob | string;
    signal?: AbortSignal | undefined;
}

const MOST_TRIES = 5;
/** The longest pause before a request is sent again, in milliseconds. */
const LONGEST_PAUSE = 60_000;
/** Seconds that the server holds an answer back while a job is under way; well below proxies' limits. */
const WAIT = 30;
const ENDED = { failed: JobFailed, canceled: JobCanceled, expired: JobExpired };

/**
 * A server.
 *
 *     const server = new Reverie({ url: "http://127.0.0.1:8080" });
 *     const { picture } = await server.dream(file, { octaves: 3 }, { onProgress: (job) => console.log(job.progress) });
 */
export class Reverie {
    readonly #url: string;
    readonly #key: string | undefined;
    readonly #fetch: typeof fetch;

    constructor(options: Options = {}) {
        this.#url = (options.url ?? "").replace(/\/+$/, "");
        this.#key = options.key;
        // Browsers refuse to call it as a method of something else.
        this.#fetch = options.fetch ?? ((...request) => fetch(...request));
    }

    /**
     * Dreams on a picture (`null`: from noise, if the preset does), and resolves when the dream is there.
     * Rejects with JobFailed, JobCanceled or JobExpired, and with what `submit` rejects with.
     */
    async dream(image: Picture | null, spec: Spec = {}, options: SubmitOptions & WaitOptions = {}): Promise<Dream> {
        return this.wait(await this.submit(image, spec, options), options);
    }

    /** Submits a job and resolves at once. Rejects with InvalidRequest, which has each mistake in the request. */
    async submit(image: Picture | null, spec: Spec = {}, options: SubmitOptions = {}): Promise<Job> {
        const form = new FormData();
        form.set("spec", new Blob([JSON.stringify(spec)], { type: "application/json" }));
        for (const [name, picture] of Object.entries({ image, mask: options.mask, guide: options.guide })) {
            if (picture instanceof Upload) form.set(name, `urn:reverie:upload:${picture.id}`);
            else if (picture != null) form.set(name, blob(picture), name);
        }
        if (options.priority !== undefined) form.set("priority", String(options.priority));
        if (options.deadlineSeconds !== undefined) form.set("deadline_seconds", String(options.deadlineSeconds));
        if (options.webhook !== undefined) form.set("webhook", options.webhook);
        if (options.webhookEvents !== undefined) form.set("webhook_events", options.webhookEvents.join(","));
        const headers = { "idempotency-key": options.idempotencyKey ?? crypto.randomUUID() };
        return this.#json<Job>("/v1/jobs", { method: "POST", headers, body: form, signal: options.signal });
    }

    /** Sends a picture ahead, to be named by any number of submissions; to the bucket, where the server's pictures are in one. */
    async upload(picture: PictureFile, signal?: AbortSignal): Promise<Upload> {
        const body = blob(picture);
        const headers = { "content-type": "application/json" };
        const announced = JSON.stringify({ bytes: body.size });
        const place = await this.#json<Schemas["Upload"]>("/v1/uploads", { method: "POST", headers, body: announced, signal });
        await this.#ask(place.url, { method: place.method, headers: place.headers, body, signal });
        return new Upload(place.id, place.expires_at);
    }

    /** Waits for a job, and fetches its dream. */
    async wait(job: Job, options: WaitOptions = {}): Promise<Dream> {
        const { onProgress, poll = 500, signal } = options;
        onProgress?.(job);
        while (job.status === "queued" || job.status === "running" || job.status === "paused") {
            if (onProgress !== undefined) await pause(poll, signal);
            // Without a callback the server answers when the job has ended.
            job = await this.job(job.id, { wait: onProgress === undefined ? WAIT : 0, signal });
            onProgress?.(job);
        }
        if (job.status !== "succeeded") throw new ENDED[job.status](job);
        return { job, picture: await this.result(job.id, signal) };
    }

    /** A job. With `wait`, at most 60, the answer comes after so many seconds or when the job has ended. */
    async job(id: string, options: { wait?: number; signal?: AbortSignal | undefined } = {}): Promise<Job> {
        const headers: Record<string, string> = options.wait ? { prefer: `wait=${options.wait}` } : {};
        return this.#json<Job>(`/v1/jobs/${encodeURIComponent(id)}`, { headers, signal: options.signal });
    }

    /** All jobs, newest first; pages are fetched as they are needed. */
    async *jobs(options: { status?: JobState; pageSize?: number; signal?: AbortSignal } = {}): AsyncGenerator<Job> {
        const query = new URLSearchParams({ limit: String(options.pageSize ?? 50) });
        if (options.status !== undefined) query.set("status", options.status);
        for (;;) {
            const page = await this.#json<Schemas["JobList"]>(`/v1/jobs?${query}`, { signal: options.signal });
            yield* page.jobs;
            if (page.links.next == null) return;
            // The link may be a path; only its query is needed.
            query.set("cursor", new URL(page.links.next, "http://server").searchParams.get("cursor") ?? "");
        }
    }

    /** The picture of a job that has succeeded. */
    async result(id: string, signal?: AbortSignal): Promise<Blob> {
        return (await this.#ask(`/v1/jobs/${encodeURIComponent(id)}/result`, { signal })).blob();
    }

    /** The dream as it stood after the newest octave. */
    async preview(id: string, signal?: AbortSignal): Promise<Blob> {
        return (await this.#ask(`/v1/jobs/${encodeURIComponent(id)}/preview`, { signal })).blob();
    }

    /** Asks for the end of a job. */
    async cancel(id: string): Promise<Job> {
        return this.#json<Job>(`/v1/jobs/${encodeURIComponent(id)}/cancel`, { method: "POST" });
    }

    /** Changes what a job dreams from its next octave or frame on; what is absent stays. */
    async steer(id: string, change: Steering): Promise<Job> {
        const headers = { "content-type": "application/json" };
        return this.#json<Job>(`/v1/jobs/${encodeURIComponent(id)}`, { method: "PATCH", headers, body: JSON.stringify(change) });
    }

    /**
     * Keeps a job's dream up to an octave, of an animation up to a frame, and submits the rest with another spec, which names
     * what changes.
     */
    async fork(
        id: string,
        after: { octave: number } | { frame: number },
        spec: Spec = {},
        options: { idempotencyKey?: string; signal?: AbortSignal } = {},
    ): Promise<Job> {
        const headers = {
            "content-type": "application/json",
            "idempotency-key": options.idempotencyKey ?? crypto.randomUUID(),
        };
        const body = JSON.stringify({ from: { job: id, ...after }, spec });
        return this.#json<Job>("/v1/jobs", { method: "POST", headers, body, signal: options.signal });
    }

    /** Pauses a job: it waits until it is resumed, and goes on where it was. */
    async pause(id: string): Promise<Job> {
        return this.#json<Job>(`/v1/jobs/${encodeURIComponent(id)}/pause`, { method: "POST" });
    }

    /** Puts a paused job back into the queue. */
    async resume(id: string): Promise<Job> {
        return this.#json<Job>(`/v1/jobs/${encodeURIComponent(id)}/resume`, { method: "POST" });
    }

    /** Erases a job with its pictures. */
    async erase(id: string): Promise<void> {
        await this.#ask(`/v1/jobs/${encodeURIComponent(id)}`, { method: "DELETE" });
    }

    /** The networks that can dream. */
    async models(): Promise<Schemas["ModelList"]> {
        return this.#json<Schemas["ModelList"]>("/v1/models", {});
    }

    /** The layers of a network. */
    async layers(model: string): Promise<Schemas["LayerList"]> {
        return this.#json<Schemas["LayerList"]>(`/v1/models/${encodeURIComponent(model)}/layers`, {});
    }

    async #json<T>(path: string, request: Request): Promise<T> {
        return (await this.#ask(path, request)).json() as Promise<T>;
    }

    /**
     * Sends a request, again where that can help and cannot do harm: every request here may be repeated, because a
     * submission has an idempotency key.
     */
    async #ask(path: string, { method = "GET", headers = {}, body, signal }: Request): Promise<Response> {
        // A bucket must not learn the key, and refuses a request that it did not sign itself.
        const own = path.startsWith("/") || path.startsWith(`${this.#url || globalThis.location?.origin}/`);
        const url = path.startsWith("/") ? this.#url + path : path;
        const authorization: Record<string, string> = this.#key !== undefined && own ? { authorization: `Bearer ${this.#key}` } : {};
        const init: RequestInit = { method, headers: { ...authorization, ...headers } };
        if (body !== undefined) init.body = body;
        if (signal !== undefined) init.signal = signal;
        for (let tried = 1; ; tried++) {
            let response: Response;
            try {
                response = await this.#fetch(url, init);
            } catch (cause) {
                if (signal?.aborted) throw cause;
                if (tried === MOST_TRIES) throw new Unreachable("the server does not answer", { cause });
                await pause(backoff(tried), signal);
                continue;
            }
            if (response.ok) return response;
            const after = retryAfter(response);
            const busy = response.status === 429 || response.status === 503;
            if (!busy || tried === MOST_TRIES || (after ?? 0) * 1000 > LONGEST_PAUSE) {
                throw apiError(response.status, await response.json().catch(() => null), after);
            }
            // An answer that is not read holds its connection.
            await response.body?.cancel();
            await pause(after === null ? backoff(tried) : after * 1000, signal);
        }
    }
}

function blob(picture: PictureFile): Blob {
    return picture instanceof Blob ? picture : new Blob([picture]);
}

/** Milliseconds before the next try: half a second, doubled each time, with jitter. */
function backoff(tried: number): number {
    return Math.min(LONGEST_PAUSE, 500 * 2 ** (tried - 1)) * (0.5 + Math.random() / 2);
}

/** The pause that an answer asks for, in seconds. */
function retryAfter(response: Response): number | null {
    const text = response.headers.get("retry-after");
    const seconds = text === null ? NaN : Number(text);
    return seconds >= 0 ? seconds : null;
}

function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
        const abort = () => {
            clearTimeout(timer);
            reject(signal?.reason);
        };
        const timer = setTimeout(() => {
            signal?.removeEventListener("abort", abort);
            resolve();
        }, milliseconds);
        if (signal?.aborted) abort();
        else signal?.addEventListener("abort", abort, { once: true });
    });
}
