// Reads a running server's responses with the client that Hey API made from docs/openapi.yaml.
import { readFileSync } from "node:fs";
import { client } from "./client/client.gen";
import { infer, predictV1, segment } from "./client/sdk.gen";
import type { Error as OurError, TorchServeError } from "./client/types.gen";

async function main(): Promise<void> {
  const [url, model] = process.argv.slice(2);
  client.setConfig({ baseUrl: url });
  const image = readFileSync("image.jpg").toString("base64");
  const path = { model };

  const found = await segment({ path, query: { score_threshold: 0.2 }, body: { image } });
  const drawn = await segment({ path, body: { image, format: "png" }, parseAs: "blob" });
  const several = await predictV1({ path, body: { instances: [{ image }, { image }] } });
  const tensor = { name: "image", datatype: "BYTES" as const, shape: [1], data: [image] };
  const inferred = await infer({ path, body: { inputs: [tensor] } });
  const wrong = await segment({ path, query: { score_threshold: 2 }, body: { image } });
  const absent = await segment({ path: { model: "absent" }, body: { image } });

  if (!found.data || !("instances" in found.data)) throw new Error(JSON.stringify(found.error));
  const drawing = await (drawn.data as unknown as Blob).arrayBuffer();
  console.log(
    JSON.stringify({
      scores: found.data.instances.map((each) => each.score),
      size: [found.data.height, found.data.width],
      drawing: Buffer.from(drawing).toString("base64"),
      several: several.data?.predictions.length,
      texts: inferred.data?.outputs[0].data,
      expected: (wrong.error as OurError).expected,
      code: (absent.error as TorchServeError).code,
    }),
  );
}

void main();
