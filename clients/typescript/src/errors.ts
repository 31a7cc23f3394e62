// What can go wrong, as types: all of them are a ReverieError.

import type { components } from "./schema.js";

type Schemas = components["schemas"];
type Job = Schemas["Job"];
type Problem = Schemas["Problem"];

/** The base of everything that this package throws by itself. */
export class ReverieError extends Error {
    constructor(message: string, options?: ErrorOptions) {
        super(message, options);
        this.name = new.target.name;
    }
}

/** The server gave no answer, and further tries did not help. */
export class Unreachable extends ReverieError {}

/** The server refused a request: `message` says what is wrong and what is allowed. */
export class ApiError extends ReverieError {
    /** Identifies the kind of problem; never changes. */
    readonly type: string;
    /** What is wrong and what is allowed. */
    readonly detail: string;
    /** Each mistake in the request, with a JSON pointer to it. */
    readonly errors: Schemas["FieldError"][];
    /** What the job would cost, where it costs too much; `largest` is a size that fits. */
    readonly prediction: Schemas["Prediction"] | null;

    constructor(
        readonly status: number,
        problem: Partial<Problem>,
        /** Seconds after which the same request may succeed. */
        readonly retryAfter: number | null,
    ) {
        super(`${problem.detail ?? problem.title ?? "no reason given"} (${status})`);
        this.type = problem.type ?? "about:blank";
        this.detail = problem.detail ?? "";
        this.errors = problem.errors ?? [];
        this.prediction = problem.prediction ?? null;
    }
}

/** 400, 413, 415 or 422: another request is needed. */
export class InvalidRequest extends ApiError {}
/** 401: no key, or one that does not work (any more). */
export class Unauthorized extends ApiError {}
/** 403: the key does not allow this. */
export class Forbidden extends ApiError {}
/** 404: there is no such job, model or key, or it belongs to somebody else. */
export class NotFound extends ApiError {}
/** 409 or 410: not in this state of the job. */
export class Conflict extends ApiError {}
/** 429: too many requests or jobs. */
export class QuotaExceeded extends ApiError {}
/** 5xx: the server cannot do it now. */
export class ServerError extends ApiError {}

const KINDS: Record<number, typeof ApiError> = {
    400: InvalidRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Conflict,
    413: InvalidRequest,
    415: InvalidRequest,
    422: InvalidRequest,
    429: QuotaExceeded,
};

/** The error of a status and a body, which a proxy may have written instead of the server. */
export function apiError(status: number, body: unknown, retryAfter: number | null): ApiError {
    const problem = typeof body === "object" && body !== null ? (body as Partial<Problem>) : {};
    const Kind = KINDS[status] ?? (status >= 500 ? ServerError : ApiError);
    return new Kind(status, problem, retryAfter);
}

/** A job ended without a dream: it failed, was canceled, or expired. */
export class JobEnded extends ReverieError {
    constructor(readonly job: Job) {
        super(`job ${job.id} ${job.status}${job.error ? `: ${job.error.detail}` : ""}`);
    }
}

/** The job failed; the message says why. */
export class JobFailed extends JobEnded {}
/** Somebody canceled the job. */
export class JobCanceled extends JobEnded {}
/** The job was not done by its deadline. */
export class JobExpired extends JobEnded {}

/** A webhook that is not from the server, or too old. */
export class InvalidWebhook extends ReverieError {}
