// Checks that a webhook is from the server: Standard Webhooks 1.0, by the platform's own cryptography.

import { InvalidWebhook } from "./errors.js";
import type { components } from "./schema.js";

/** What arrives. */
export interface WebhookMessage {
    /** `job.succeeded`, `job.failed`, `job.canceled` or `job.expired`. */
    type: string;
    timestamp: string;
    data: components["schemas"]["Job"];
}

/** Seconds by which a message's time may differ from ours. */
const TOLERANCE = 300;

/**
 * Resolves to the message. `body` is the request's body as it came, byte for byte; `secrets` one or several `whsec_…`, while
 * they are being changed. Keep `webhook-id` to tell a repetition: messages come at least once.
 *
 * Rejects with InvalidWebhook for a message that nobody with a secret has signed, or that is more than five minutes old.
 */
export async function verify(
    body: Uint8Array | string,
    headers: Headers | Record<string, string | string[] | undefined>,
    secrets: string | string[],
    now: number = Date.now() / 1000,
): Promise<WebhookMessage> {
    const given = (name: string): string => {
        const value = headers instanceof Headers ? headers.get(name) : headers[name];
        if (typeof value !== "string") throw new InvalidWebhook("the headers of a webhook are missing or unreadable");
        return value;
    };
    const [id, sentAt, signatures] = [given("webhook-id"), given("webhook-timestamp"), given("webhook-signature")];
    const age = now - (/^\d{1,15}$/.test(sentAt) ? Number(sentAt) : NaN);
    if (!(Math.abs(age) <= TOLERANCE)) {
        throw new InvalidWebhook(`the webhook's time differs from ours by more than the ${TOLERANCE} seconds that are allowed`);
    }
    const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
    const head = new TextEncoder().encode(`${id}.${sentAt}.`);
    const signed = new Uint8Array(head.length + bytes.length);
    signed.set(head);
    signed.set(bytes, head.length);
    for (const secret of [secrets].flat()) {
        const key = await hmacKey(secret);
        for (const signature of signatures.split(" ")) {
            const [version, text] = signature.split(",", 2);
            const decoded = version === "v1" && text !== undefined ? decode(text) : null;
            // The platform compares in constant time.
            if (decoded !== null && (await crypto.subtle.verify("HMAC", key, decoded, signed))) {
                return JSON.parse(new TextDecoder().decode(bytes)) as WebhookMessage;
            }
        }
    }
    throw new InvalidWebhook("the webhook is not signed with any of the secrets");
}

async function hmacKey(secret: string): Promise<CryptoKey> {
    const bytes = decode(secret.replace(/^whsec_/, ""));
    if (bytes === null) throw new TypeError("a webhook secret is whsec_ and base64");
    return crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
}

function decode(base64: string): Uint8Array<ArrayBuffer> | null {
    try {
        return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    } catch {
        return null;
    }
}
