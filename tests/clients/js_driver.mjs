// Runs calls that come as lines of JSON with the AWS SDK for JavaScript. Endpoint, region and
// credentials are found in the environment, as in any program that uses the SDK.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

// The package is installed elsewhere; its folder is the first argument.
const find = createRequire(pathToFileURL(`${process.argv[2]}/`));
const sdk = find("@aws-sdk/client-voice-id");
const client = new sdk.VoiceIDClient({ maxAttempts: 1 });

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await answer(JSON.parse(line))));
}

async function answer({ operation, members, page }) {
  try {
    if (page === null) {
      return { answer: plain(await client.send(new sdk[`${operation}Command`](members))) };
    }
    const pages = [];
    for await (const found of sdk[`paginate${operation}`]({ client, pageSize: page }, members)) {
      pages.push(plain(found));
    }
    return { answer: pages };
  } catch (error) {
    if (error.$metadata === undefined) {
      return { refused: { code: "client-side", message: `${error.name}: ${error.message}` } };
    }
    return {
      refused: {
        code: error.name,
        message: error.message || error.Message,
        status: error.$metadata.httpStatusCode,
        request_id: error.$metadata.requestId,
        is_typed: sdk[error.name] !== undefined && error instanceof sdk[error.name],
        resource_type: error.ResourceType ?? null,
      },
    };
  }
}

function plain(value) {
  if (value instanceof Date) {
    return value.getTime() / 1000;
  }
  if (Array.isArray(value)) {
    return value.map(plain);
  }
  if (value !== null && typeof value === "object") {
    const told = Object.entries(value).filter(([name]) => name !== "$metadata");
    return Object.fromEntries(told.map(([name, inner]) => [name, plain(inner)]));
  }
  return value;
}
