// A client of Reverie, the DeepDream rendering service.

export * from "./client.js";
export * from "./errors.js";
export type { components } from "./schema.js";
export { verify as verifyWebhook, type WebhookMessage } from "./webhooks.js";
