"use strict";
// How text is cut for the search. Width, compatible forms and case are folded first, so that ＶＡＥ is VAE and － is -. Then words of Latin letters and
// numbers stay as they are, and Chinese is cut into pairs of characters and the last one, so that a term is found inside a sentence without a
// dictionary. A single character is the beginning of a pair; a Greek letter by itself goes by its name too: beta-VAE finds β-VAE.
const RUNS = /[\u3400-\u9fff]+|[\p{L}\p{N}]+?(?=[\u3400-\u9fff]|[^\p{L}\p{N}]|$)/gu;
const GREEK = {
  α: "alpha", β: "beta", γ: "gamma", δ: "delta", ε: "epsilon", ζ: "zeta", η: "eta", θ: "theta", ι: "iota", κ: "kappa", λ: "lambda", μ: "mu",
  ν: "nu", ξ: "xi", π: "pi", ρ: "rho", σ: "sigma", τ: "tau", υ: "upsilon", φ: "phi", χ: "chi", ψ: "psi", ω: "omega",
};
const fold = (text) => text.normalize("NFKC").toLowerCase();
const isChinese = (text) => /[\u3400-\u9fff]/.test(text);
const runs = (text) => fold(text).match(RUNS) || [];
const pairs = (run) => Array.from({ length: run.length - 1 }, (_, i) => run.slice(i, i + 2));
const cutText = (text) => runs(text).flatMap((run) => {
  if (isChinese(run)) return [...pairs(run), run.slice(-1)];
  return run in GREEK ? [run, GREEK[run]] : [run];
});
const cutQuery = (text) => runs(text).flatMap((run) => (isChinese(run) && run.length > 1 ? pairs(run) : [run]));
// Folded, but with every character in its place: where a word that was found stands in the text.
const foldInPlace = (text) => text.toLowerCase().replace(/[^\x00-\x7f\u3400-\u9fff]/g, (character) => {
  const folded = fold(character);
  return folded.length === 1 ? folded : character;
});

const makeIndex = (entries) => {
  const index = new MiniSearch({
    fields: ["title", "heading", "text"],
    storeFields: ["title", "heading", "text", "path"],
    tokenize: cutText,
    searchOptions: {
      tokenize: cutQuery,
      boost: { title: 4, heading: 2 },
      combineWith: "AND",
      prefix: (term) => (isChinese(term) ? term.length === 1 : term.length > 2),
      fuzzy: (term) => (!isChinese(term) && term.length > 5 ? 0.2 : false),
    },
  });
  index.addAll(entries);
  return index;
};
