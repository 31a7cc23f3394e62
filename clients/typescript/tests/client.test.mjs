// The client against a running server (REVERIE_URL, REVERIE_KEY, REVERIE_PHOTO, REVERIE_CLIENT: the built package's folder).
// scripts/contract-test builds the package and starts a server.

import assert from "node:assert/strict";
import { createHash, createHmac, randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

const { InvalidRequest, InvalidWebhook, JobCanceled, NotFound, QuotaExceeded, Reverie, Unauthorized, Unreachable, Upload, verifyWebhook } =
    await import(pathToFileURL(`${process.env.REVERIE_CLIENT}/index.js`).href);

const [url, key] = [process.env.REVERIE_URL, process.env.REVERIE_KEY];
const photo = new Uint8Array(await readFile(process.env.REVERIE_PHOTO));
const server = new Reverie({ url, key });
const small = { objectives: [{ kind: "l2", layer: "block2" }], octaves: 2, iterations: 2 };
const long = { objectives: [{ kind: "l2", layer: "block10" }], octaves: 1, iterations: 1000 };

test("a photo becomes a dream", async () => {
    const seen = [];
    const { job, picture } = await server.dream(photo, { ...small, seed: 7 }, {
        onProgress: (job) => seen.push(job.status),
        poll: 50,
        priority: 3,
    });
    assert.deepEqual([job.status, job.spec.seed, job.priority, seen.at(-1)], ["succeeded", 7, 3, "succeeded"]);
    const bytes = Buffer.from(await picture.arrayBuffer());
    assert.equal(createHash("sha256").update(bytes).digest("hex"), job.result.sha256);
    assert.equal(picture.type, "image/png");

    await server.erase(job.id);
    await assert.rejects(server.job(job.id), NotFound);
});

test("a key makes one job, and the server holds its answer until the end", async () => {
    const idempotencyKey = randomUUID();
    const [first, second] = [
        await server.submit(new Blob([photo]), small, { idempotencyKey }),
        await server.submit(photo, small, { idempotencyKey }),
    ];
    assert.equal(first.id, second.id);
    assert.equal((await server.wait(first)).job.status, "succeeded");
});

test("a picture is sent ahead and used twice", async () => {
    const upload = await server.upload(new Blob([photo]));
    const bytes = async (picture, options) => Buffer.from(await (await server.dream(picture, { ...small, seed: 7 }, options)).picture.arrayBuffer());
    const [named, sent, masked] = [await bytes(upload), await bytes(photo), await bytes(upload, { mask: await server.upload(photo) })];
    assert.ok(named.equals(sent) && !named.equals(masked));
    await assert.rejects(server.submit(new Upload(randomUUID(), upload.expiresAt), small), NotFound);
});

test("a bucket does not learn the key", async () => {
    const asked = [];
    const place = { id: "a", url: "https://bucket.example/a?X-Amz-Signature=b", method: "PUT", headers: {}, expires_at: "2026-01-01T00:00:00Z" };
    const answer = async (url, init) => {
        asked.push([url, init.headers.authorization]);
        return Response.json(place, { status: 201 });
    };
    await new Reverie({ url: "http://server", key: "rvk_a", fetch: answer }).upload(photo);
    assert.deepEqual(asked, [["http://server/v1/uploads", "Bearer rvk_a"], [place.url, undefined]]);
});

test("mistakes say where they are", async () => {
    await assert.rejects(server.submit(photo, { octaves: -1, iteration: 3 }), (error) => {
        assert.ok(error instanceof InvalidRequest && error.status === 422 && error.name === "InvalidRequest");
        assert.deepEqual(error.errors.map(({ pointer }) => pointer).sort(), ["/spec/iteration", "/spec/octaves"]);
        return true;
    });
    await assert.rejects(server.job(randomUUID()), NotFound);
    await assert.rejects(new Reverie({ url, key: `rvk_${"0".repeat(16)}_${"0".repeat(64)}` }).models(), Unauthorized);
});

test("a job that is canceled, and one that nobody waits for any more", async () => {
    const job = await server.submit(photo, long);
    const abort = new AbortController();
    const waiting = server.wait(job, { signal: abort.signal });
    abort.abort();
    await assert.rejects(waiting, { name: "AbortError" });
    await server.cancel(job.id);
    await assert.rejects(server.wait(job), JobCanceled);
});

test("all pages of the list are read", async () => {
    const made = [];
    for (let count = 0; count < 3; count++) made.push((await server.submit(photo, small)).id);
    const listed = [];
    for await (const job of server.jobs({ pageSize: 1 })) listed.push(job.id);
    assert.deepEqual(listed.filter((id) => made.includes(id)), made.reverse());
    assert.equal(new Set(listed).size, listed.length);
    for (const id of made) await server.erase(id);
});

test("models and layers are listed", async () => {
    const model = (await server.models()).models.find((one) => one.default);
    const { layers } = await server.layers(model.id);
    assert.ok(layers.some(({ name }) => name === model.default_layer));
});

test("what can help is tried again, and no more", async () => {
    const answers = [];
    const made = new Reverie({ url: "http://none", fetch: async () => (answers.length > 0 ? answers.shift()() : Promise.reject(new Error("reset"))) });
    const busy = (status, after) => () =>
        new Response('{"type":"urn:x","title":"busy","detail":"come back"}', { status, headers: { "retry-after": after } });
    answers.push(busy(503, "0"), busy(429, "0"), () => Response.json({ models: [] }));
    assert.deepEqual(await made.models(), { models: [] });
    answers.push(...Array.from({ length: 5 }, () => busy(429, "0")));
    await assert.rejects(made.models(), (error) => error instanceof QuotaExceeded && error.retryAfter === 0);
    answers.push(busy(503, "3600"));
    await assert.rejects(made.models(), { name: "ServerError", retryAfter: 3600 });
    answers.push(() => new Response("<html>", { status: 502 }));
    await assert.rejects(made.models(), { name: "ServerError", status: 502 });
    await assert.rejects(made.models(), Unreachable);
});

test("webhooks are verified", async () => {
    const secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"];
    const [body, now] = ['{"type":"job.succeeded","data":{"id":"a"}}', 1_800_000_000];
    const mac = createHmac("sha256", Buffer.from(secrets[0].slice(6), "base64")).update(`msg_1.${now}.${body}`).digest("base64");
    const headers = { "webhook-id": "msg_1", "webhook-timestamp": String(now), "webhook-signature": `v1,AAAA v2,${mac} v1,${mac}` };
    assert.equal((await verifyWebhook(body, headers, secrets[0], now)).data.id, "a");
    assert.equal((await verifyWebhook(Buffer.from(body), new Headers(headers), [...secrets].reverse(), now + 300)).type, "job.succeeded");
    for (const [wrongBody, change, secret, at] of [
        [`${body} `, {}, secrets[0], now],
        [body, {}, secrets[1], now],
        [body, { "webhook-id": "msg_2" }, secrets[0], now],
        [body, { "webhook-timestamp": String(now - 1) }, secrets[0], now],
        [body, { "webhook-timestamp": "soon" }, secrets[0], now],
        [body, { "webhook-signature": "" }, secrets[0], now],
        [body, { "webhook-signature": undefined }, secrets[0], now],
        [body, { "webhook-signature": `v2,${mac}` }, secrets[0], now],
        [body, {}, secrets[0], now + 301],
    ]) {
        await assert.rejects(verifyWebhook(wrongBody, { ...headers, ...change }, secret, at), InvalidWebhook);
    }
});
