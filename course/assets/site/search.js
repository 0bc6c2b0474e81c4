"use strict";
// How text is cut for the search: words of Latin letters and numbers as they are, Chinese into pairs of characters and the last one,
// so that a term is found inside a sentence without a dictionary. A single character is the beginning of a pair.
const RUNS = /[\u3400-\u9fff]+|[\p{L}\p{N}]+?(?=[\u3400-\u9fff]|[^\p{L}\p{N}]|$)/gu;
const isChinese = (text) => /[\u3400-\u9fff]/.test(text);
const pairs = (run) => Array.from({ length: run.length - 1 }, (_, i) => run.slice(i, i + 2));
const cutText = (text) => (text.match(RUNS) || []).flatMap((run) => (isChinese(run) ? [...pairs(run), run.slice(-1)] : [run]));
const cutQuery = (text) => (text.match(RUNS) || []).flatMap((run) => (isChinese(run) && run.length > 1 ? pairs(run) : [run]));

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
