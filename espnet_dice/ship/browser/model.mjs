// A recogniser of espnet_dice on onnxruntime-web: samples in, text out.

import { features } from "./hearing.mjs";
import { bestPath, jointBeam } from "./search.mjs";

const SPACE = "▁";
const UNKNOWN = "<unk>";

export class Model {
  /**
   * read: the name of a file → a promise of its bytes (Uint8Array), or of null where it is not.
   * ort: onnxruntime-web.
   */
  static async load(read, ort) {
    const text = async (name) => new TextDecoder().decode(await read(name));
    const model = new Model();
    model.ort = ort;
    model.config = JSON.parse(await text("config.json"));
    model.tokens = (await text("tokens.txt")).replace(/\n$/, "").split("\n");
    const session = async (name) => {
      const bytes = await read(`${name}.int8.onnx`);
      return bytes && ort.InferenceSession.create(bytes);
    };
    for (const part of ["model", "decoder", "lm"]) model[part] = await session(part);
    return model;
  }

  /** What was said in samples at the model's rate, Float32Array in [-1, 1]. */
  async text(samples, { beam = 4, ctcWeight = 0.3, ctc = false } = {}) {
    const { rate, longest_s: longest, shortest, blank, feats_type: kind } = this.config;
    const seconds = samples.length / rate;
    if (seconds > longest) {
      throw new Error(`${seconds.toFixed(0)} s are too long for the model: cut them at pauses`);
    }
    const heard = features(kind, samples, rate);
    if (heard.frames < shortest) return "";
    const dims = kind === "raw" ? [1, heard.frames] : [1, heard.frames, heard.dim];
    const { Tensor } = this.ort;
    const out = await this.model.run({ speech: new Tensor("float32", heard.data, dims) });
    const [memory, logProbs] = this.model.outputNames.map((name) => out[name]);
    const width = logProbs.dims[2];
    let ids;
    if (this.decoder && !ctc) {
      const step = (prefixes) => this.next(prefixes, memory, width, 1 - ctcWeight);
      ids = await jointBeam(logProbs.data, width, step, { beam, ctcWeight, eos: width - 1, blank });
    } else {
      ids = bestPath(logProbs.data, width, blank);
    }
    const said = ids.map((i) => (this.tokens[i] === UNKNOWN ? " ⁇ " : this.tokens[i])).join("");
    return said.replaceAll(SPACE, " ").split(/\s+/).filter(Boolean).join(" ");
  }

  async next(prefixes, memory, width, weight) {
    const { Tensor } = this.ort;
    const ids = BigInt64Array.from(prefixes.flat(), BigInt);
    const tokens = new Tensor("int64", ids, [prefixes.length, prefixes[0].length]);
    const said = await this.decoder.run({ tokens, memory });
    const score = Float64Array.from(said[this.decoder.outputNames[0]].data, (x) => weight * x);
    if (this.lm && this.config.lm_weight) {
      const more = (await this.lm.run({ tokens }))[this.lm.outputNames[0]].data;
      for (let i = 0; i < score.length; i++) score[i] += this.config.lm_weight * more[i];
    }
    return score;
  }
}
