// The searches of search.py: the best CTC path, and CTC and attention decoder together.

const NEVER = -Infinity;
const LOG_ZERO = -1e10;
const PRE_BEAM = 1.5; // tokens behind a prefix that CTC scores, in beams; the decoder says which
const [END_MARGIN, END_STEPS] = [-10, 3]; // a search ends where as many lengths ended so far behind

function add(a, b) {
  const [high, low] = a > b ? [a, b] : [b, a];
  return low === NEVER ? high : high + Math.log1p(Math.exp(low - high));
}

function largestFirst(scores) {
  return [...scores.keys()].sort((i, j) => scores[j] - scores[i] || i - j);
}

/** The ids of the best CTC path; logProbs is (frames × width). */
export function bestPath(logProbs, width, blank = 0) {
  const said = [];
  let last = -1;
  for (let t = 0; t * width < logProbs.length; t++) {
    const row = logProbs.subarray(t * width, (t + 1) * width);
    const best = row.indexOf(row.reduce((a, b) => Math.max(a, b)));
    if (best !== last && best !== blank) said.push(best);
    last = best;
  }
  return said;
}

/**
 * The best labelling by CTC and decoder, as ESPnet's beam search finds it.
 *
 * step: prefixes, arrays of ids of one length, which begin with eos → a promise of the scores of the
 * next token, (prefixes × width), weights included.
 */
export async function jointBeam(logProbs, width, step, { beam, ctcWeight, eos, blank = 0 }) {
  const frames = logProbs.length / width;
  const heard = new CtcPrefixes(logProbs, width, blank, eos);
  let prefixes = [[eos]];
  let total = [0];
  const ended = [];
  const bestOf = new Map();
  for (let n = 0; n < frames; n++) {
    const score = Float64Array.from(await step(prefixes));
    if (ctcWeight) {
      const ctc = heard.scores(prefixes.map((prefix) => prefix.at(-1)));
      for (let w = 0; w < prefixes.length; w++) {
        const row = score.subarray(w * width, (w + 1) * width);
        const some = ctcWeight < 1 ? Math.trunc(PRE_BEAM * beam) : width;
        const left = new Set(largestFirst(row).slice(0, some)).add(eos);
        for (let token = 0; token < width; token++) {
          row[token] += left.has(token) ? ctcWeight * ctc[w][token] : NEVER;
        }
      }
    }
    for (let i = 0; i < score.length; i++) score[i] += total[Math.floor(i / width)];
    const best = largestFirst(score).slice(0, beam).filter((i) => score[i] > NEVER);
    const end = n === frames - 1;
    const going = [];
    for (const i of best) {
      const [parent, token] = [Math.floor(i / width), i % width];
      if (token === eos || end) {
        const said = [...prefixes[parent], token].filter((one) => one !== eos && one !== blank);
        const length = n + 2 + end;
        ended.push({ value: score[i], said });
        bestOf.set(length, Math.max(score[i], bestOf.get(length) ?? NEVER));
      } else {
        going.push({ parent, token, value: score[i] });
      }
    }
    if (!going.length || isOver(bestOf, n)) break;
    prefixes = going.map(({ parent, token }) => [...prefixes[parent], token]);
    total = going.map(({ value }) => value);
    if (ctcWeight) heard.goOn(going);
  }
  return ended.length ? ended.reduce((a, b) => (b.value > a.value ? b : a)).said : [];
}

function isOver(bestOf, length) {
  if (!bestOf.size) return false;
  const limit = Math.max(...bestOf.values()) + END_MARGIN;
  for (let less = 0; less < END_STEPS; less++) {
    if (!((bestOf.get(length - less) ?? Infinity) < limit)) return false;
  }
  return true;
}

/** CTC's scores of prefixes, all of one length, and of their continuations: search.py has the source. */
class CtcPrefixes {
  constructor(logProbs, width, blank, eos) {
    Object.assign(this, { x: logProbs, width, blank, eos, before: 0 });
    this.frames = logProbs.length / width;
    this.p = Float64Array.from(logProbs, Math.exp);
    let sum = 0;
    this.blanks = Float64Array.from({ length: this.frames }, (_, t) => (sum += this.x[t * width + blank]));
    const inLabel = new Float64Array(this.frames).fill(NEVER);
    this.prefixes = [{ inBlank: this.blanks, inLabel, psi: 0 }];
  }

  /** log p of each continuation given its prefix, an array of `width` for each. */
  scores(last) {
    return this.prefixes.map((prefix, w) => {
      const either = prefix.inLabel.map((label, t) => add(label, prefix.inBlank[t]));
      prefix.last = last[w];
      prefix.phi = this.later(either);
      prefix.same = this.later(prefix.inBlank); // the same token again needs a blank between
      prefix.next = this.products(prefix.phi);
      prefix.next[last[w]] = this.product(prefix.same, last[w]);
      prefix.next[this.eos] = either[this.frames - 1];
      const scores = prefix.next.map((psi) => Math.max(psi, LOG_ZERO) - prefix.psi);
      scores[this.blank] = NEVER;
      return scores;
    });
  }

  /** Take other prefixes, each an old one, `parent`, and one token; after scores(). */
  goOn(chosen) {
    const later = chosen.map(({ parent, token }) => {
      const old = this.prefixes[parent];
      const phi = old.last === token ? old.same : old.phi;
      const inLabel = new Float64Array(this.frames);
      const inBlank = new Float64Array(this.frames);
      let label = NEVER;
      let blank = NEVER;
      for (let t = 0; t < this.frames; t++) {
        const row = t * this.width;
        blank = add(blank, label) + this.x[row + this.blank];
        label = add(label, phi[t]) + this.x[row + token];
        inLabel[t] = label;
        inBlank[t] = blank;
      }
      return { inBlank, inLabel, psi: Math.max(old.next[token], LOG_ZERO) };
    });
    this.prefixes = later;
    this.before = NEVER;
  }

  later(x) {
    const out = new Float64Array(x.length);
    out[0] = this.before;
    out.set(x.subarray(0, -1), 1);
    return out;
  }

  /** log Σ_t exp(a(t)) p(t, token) of all tokens. */
  products(a) {
    const top = this.top(a);
    const sums = new Float64Array(this.width);
    for (let t = 0; t < this.frames; t++) {
      const weight = Math.exp(a[t] - top);
      for (let c = 0; c < this.width; c++) sums[c] += weight * this.p[t * this.width + c];
    }
    return sums.map((sum) => Math.log(sum) + top);
  }

  product(a, token) {
    const top = this.top(a);
    let sum = 0;
    for (let t = 0; t < this.frames; t++) sum += Math.exp(a[t] - top) * this.p[t * this.width + token];
    return Math.log(sum) + top;
  }

  top(a) {
    const top = a.reduce((x, y) => Math.max(x, y));
    return top === NEVER ? 0 : top;
  }
}
