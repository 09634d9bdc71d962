// What a recogniser hears of a waveform, as hearing.py and pitch.py make it: Kaldi's log-mel energies,
// and Kaldi's pitch but for the noise that it adds.

const FLOAT_EPS = 2 ** -23;

/** Features of samples in [-1, 1]: {data: Float32Array, frames, dim}; of kind "raw" the samples. */
export function features(kind, samples, rate) {
  if (kind === "raw") return { data: samples, frames: samples.length, dim: 1 };
  const mel = fbank(samples, rate);
  if (kind === "fbank") return mel;
  const pitch = processPitch(kaldiPitch(samples, rate));
  const frames = Math.min(mel.frames, pitch.length / 3);
  const dim = mel.dim + 3;
  const data = new Float32Array(frames * dim);
  for (let t = 0; t < frames; t++) {
    data.set(mel.data.subarray(t * mel.dim, (t + 1) * mel.dim), t * dim);
    data.set(pitch.subarray(3 * t, 3 * t + 3), t * dim + mel.dim);
  }
  return { data, frames, dim };
}

/** Log-mel energies, 25 ms every 10 ms: Povey's window, pre-emphasis 0.97, no dither. */
export function fbank(samples, rate, bins = 80) {
  const size = Math.trunc(0.025 * rate);
  const shift = Math.trunc(0.01 * rate);
  const frames = samples.length < size ? 0 : Math.floor((samples.length - size) / shift) + 1;
  const length = 2 ** Math.ceil(Math.log2(size));
  const window = Float64Array.from({ length: size }, (_, i) =>
    (0.5 - 0.5 * Math.cos((2 * Math.PI * i) / (size - 1))) ** 0.85);
  const filters = melFilters(rate, length, bins);
  const data = new Float32Array(frames * bins);
  const x = new Float64Array(size);
  const re = new Float64Array(length);
  const im = new Float64Array(length);
  for (let t = 0; t < frames; t++) {
    let mean = 0;
    for (let i = 0; i < size; i++) mean += x[i] = samples[t * shift + i] * 32768;
    mean /= size;
    for (let i = 0; i < size; i++) x[i] -= mean;
    re.fill(0);
    im.fill(0);
    for (let i = size - 1; i >= 0; i--) re[i] = (x[i] - 0.97 * x[Math.max(i - 1, 0)]) * window[i];
    fft(re, im);
    for (let b = 0; b < bins; b++) {
      const { first, weights } = filters[b];
      let energy = 0;
      for (let k = 0; k < weights.length; k++) {
        energy += weights[k] * (re[first + k] ** 2 + im[first + k] ** 2);
      }
      data[t * bins + b] = Math.log(Math.max(energy, FLOAT_EPS));
    }
  }
  return { data, frames, dim: bins };
}

/** Triangles on the mel scale: of each filter the first bin of the spectrum, and its weights. */
function melFilters(rate, length, bins, low = 20) {
  const mel = (hertz) => 1127 * Math.log1p(hertz / 700);
  const step = (mel(rate / 2) - mel(low)) / (bins + 1);
  return Array.from({ length: bins }, (_, b) => {
    const left = mel(low) + b * step;
    const all = Array.from({ length: length / 2 }, (_, k) => {
      const at = (mel((k * rate) / length) - left) / step;
      return Math.max(0, Math.min(at, 2 - at));
    });
    const first = Math.max(0, all.findIndex((w) => w > 0));
    return { first, weights: all.slice(first, all.findLastIndex((w) => w > 0) + 1) };
  });
}

/** The discrete Fourier transform in place, of a power of two. */
function fft(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
  }
  for (let size = 2; size <= n; size *= 2) {
    const half = size / 2;
    for (let k = 0; k < half; k++) {
      const c = Math.cos((2 * Math.PI * k) / size);
      const s = -Math.sin((2 * Math.PI * k) / size);
      for (let i = k; i < n; i += size) {
        const j = i + half;
        const r = re[j] * c - im[j] * s;
        const m = re[j] * s + im[j] * c;
        re[j] = re[i] - r;
        im[j] = im[i] - m;
        re[i] += r;
        im[i] += m;
      }
    }
  }
}

// Kaldi's pitch: Ghahremani et al., "A pitch extraction algorithm tuned for automatic speech
// recognition" (ICASSP 2014), with Kaldi's defaults.

const RATE = 4000; // of the signal that is correlated
const WINDOW = 100;
const SHIFT = 40;
const CUTOFF = 1000;
const [FIRST_LAG, LAST_LAG] = [8, 82];
const BALLAST = 7000;
const PENALTY = 0.1;
const DELTA_PITCH = 0.005;
const SOFT_MIN_F0 = 10;
const RECOMPUTE_FRAME = 500;

function sinc(time, cutoff, zeros) {
  if (Math.abs(time) >= zeros / (2 * cutoff)) return 0;
  const angle = 2 * Math.PI * cutoff * time;
  const curve = angle === 0 ? 1 : Math.sin(angle) / angle;
  return 2 * cutoff * curve * 0.5 * (1 + Math.cos(angle / zeros));
}

function gcd(a, b) {
  return b ? gcd(b, a % b) : a;
}

/** How many samples at RATE fall into the first samples / rate - lost seconds. */
function outputLength(samples, rate, lost = 0) {
  const ticks = (rate / gcd(rate, RATE)) * RATE;
  const cut = Math.floor(Math.fround(Math.fround(lost) * Math.fround(ticks)));
  return Math.max(0, Math.ceil((samples * (ticks / rate) - cut) / (ticks / RATE)));
}

function resample(wave, rate) {
  const unit = gcd(rate, RATE);
  const [stepIn, stepOut] = [rate / unit, RATE / unit];
  const half = 1 / (2 * CUTOFF);
  const phases = Array.from({ length: stepOut }, (_, i) => {
    const centre = i / RATE;
    const first = Math.ceil((centre - half) * rate);
    const last = Math.floor((centre + half) * rate);
    const taps = [];
    for (let k = first; k <= last; k++) taps.push(sinc(k / rate - centre, CUTOFF, 1) / rate);
    return { first, taps };
  });
  return Float64Array.from({ length: outputLength(wave.length, rate) }, (_, n) => {
    const { first, taps } = phases[n % stepOut];
    const from = Math.floor(n / stepOut) * stepIn + first;
    let sum = 0;
    for (let k = 0; k < taps.length; k++) sum += taps[k] * (wave[from + k] ?? 0);
    return sum;
  });
}

function frameCount(samples, needed) {
  return samples < needed ? 0 : Math.floor((samples - needed) / SHIFT) + 1;
}

function pitchLags() {
  const lags = [];
  const ratio = 1 + Math.fround(DELTA_PITCH);
  const last = Math.fround(1 / 50);
  for (let lag = Math.fround(1 / 400); lag <= last; lag = Math.fround(lag * ratio)) lags.push(lag);
  return lags;
}

function variance(x, length) {
  let sum = 0;
  let squares = 0;
  for (let i = 0; i < length; i++) sum += x[i];
  for (let i = 0; i < length; i++) squares += (x[i] - sum / length) ** 2;
  return squares / length;
}

/** Raw pitch of whole frames: NCCF and F0 in Hz of each, (frames × 2). */
export function kaldiPitch(wave, rate) {
  const signal = resample(wave, rate);
  const frames = frameCount(signal.length, WINDOW);
  if (!frames) return new Float32Array(0);
  const lags = pitchLags();
  const states = lags.length;
  const measured = LAST_LAG - FIRST_LAG + 1;
  const toLags = Float32Array.from({ length: measured * states }, (_, i) => {
    const lag = lags[i % states] - (FIRST_LAG + Math.floor(i / states)) / RATE;
    return sinc(lag, 0.5 * RATE, 5) / RATE;
  });
  // what Kaldi knows of the signal's energy before the resampler is flushed
  const known = outputLength(wave.length, rate, 1 / (2 * CUTOFF));
  const early = frameCount(known, WINDOW + LAST_LAG);
  const final = variance(signal, signal.length);
  const first = early ? variance(signal, known) : final;
  const scaled = (energy) => (energy * WINDOW) ** 2 * BALLAST;
  const correct = Math.abs(first - final) > 0.01 * (first + final) && early < RECOMPUTE_FRAME;

  const nccf = new Float32Array(frames * measured);
  const back = new Int16Array(frames * states);
  let cost = new Float32Array(states);
  const factor = Math.fround(PENALTY * Math.log1p(DELTA_PITCH) ** 2);
  const step = Float32Array.from({ length: states }, (_, d) => Math.fround(d * d) * factor);
  const x = new Float64Array(WINDOW + LAST_LAG);
  const weighed = new Float32Array(measured);
  const energies = new Float64Array(measured);
  for (let t = 0; t < frames; t++) {
    let mean = 0;
    let loudest = 0;
    for (let i = 0; i < x.length; i++) {
      x[i] = signal[t * SHIFT + i] ?? 0;
      loudest = Math.max(loudest, Math.abs(x[i]));
      if (i < WINDOW) mean += x[i] / WINDOW;
    }
    let head = 0;
    for (let i = 0; i < x.length; i++) {
      x[i] -= mean;
      if (Math.abs(x[i]) <= 1e-13 * loudest) x[i] = 0;
      if (i < WINDOW) head += x[i] * x[i];
    }
    const ballast = scaled(t < early ? first : final);
    let average = 0;
    for (let l = 0; l < measured; l++) {
      let inner = 0;
      let energy = 0;
      for (let i = 0; i < WINDOW; i++) {
        const shifted = x[FIRST_LAG + l + i];
        inner += x[i] * shifted;
        energy += shifted * shifted;
      }
      energy *= head;
      energies[l] = energy;
      average += energy / measured;
      nccf[t * measured + l] = energy > 0 ? inner / Math.sqrt(energy) : 0;
      weighed[l] = energy + ballast > 0 ? inner / Math.sqrt(energy + ballast) : 0;
    }
    if (correct) {
      const by = Math.sqrt((ballast + average) / (scaled(final) + average));
      for (let l = 0; l < measured; l++) weighed[l] *= by;
    }
    const next = new Float32Array(states);
    let least = Infinity;
    for (let s = 0; s < states; s++) {
      let value = 0;
      for (let l = 0; l < measured; l++) value += weighed[l] * toLags[l * states + s];
      value = Math.fround(value);
      const local = Math.fround(1 - value) + Math.fround(Math.fround(SOFT_MIN_F0 * lags[s]) * value);
      let best = 0;
      let lowest = Infinity;
      for (let from = 0; from < states; from++) {
        const total = Math.fround(step[Math.abs(s - from)] + cost[from]);
        if (total < lowest) {
          lowest = total;
          best = from;
        }
      }
      back[t * states + s] = best;
      next[s] = lowest + Math.fround(local);
      least = Math.min(least, next[s]);
    }
    for (let s = 0; s < states; s++) next[s] -= least;
    cost = next;
  }
  let state = cost.indexOf(Math.min(...cost));
  const pitch = new Float32Array(frames * 2);
  for (let t = frames - 1; t >= 0; t--) {
    let value = 0;
    for (let l = 0; l < measured; l++) value += nccf[t * measured + l] * toLags[l * states + state];
    pitch[2 * t] = value;
    pitch[2 * t + 1] = 1 / lags[state];
    state = back[t * states + state];
  }
  return pitch;
}

const AROUND = 75; // frames over which log F0 is normalised

/** Voicing, normalised log F0 and its slope, as process-kaldi-pitch-feats without noise; (frames × 3). */
export function processPitch(raw) {
  const frames = raw.length / 2;
  const weight = new Float64Array(frames + 1); // sums over the frames before
  const weighted = new Float64Array(frames + 1);
  const logF0 = Float64Array.from({ length: frames }, (_, t) => Math.log(raw[2 * t + 1]));
  for (let t = 0; t < frames; t++) {
    const a = Math.min(Math.abs(raw[2 * t]), 1);
    const r = -5.2 + 5.4 * Math.exp(7.5 * (a - 1)) + 4.8 * a
      - 2 * Math.exp(-10 * a) + 4.2 * Math.exp(20 * (a - 1));
    const voiced = 1 / (1 + Math.exp(-r));
    weight[t + 1] = weight[t] + voiced;
    weighted[t + 1] = weighted[t] + voiced * logF0[t];
  }
  const at = (t) => logF0[Math.min(Math.max(t, 0), frames - 1)];
  const out = new Float32Array(frames * 3);
  for (let t = 0; t < frames; t++) {
    const nccf = Math.min(Math.max(raw[2 * t], -1), 1);
    const [from, to] = [Math.max(t - AROUND, 0), Math.min(t + AROUND + 1, frames)];
    const mean = (weighted[to] - weighted[from]) / (weight[to] - weight[from]);
    const slope = (2 * (at(t + 2) - at(t - 2)) + at(t + 1) - at(t - 1)) / 10;
    out.set([2 * ((1.0001 - nccf) ** 0.15 - 1), 2 * (logF0[t] - mean), 10 * slope], 3 * t);
  }
  return out;
}
