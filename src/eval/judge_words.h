/* judge_words.h: the tables behind the judge's patterns.  Private to this room. */
#ifndef HOLD_EVAL_JUDGE_WORDS_H
#define HOLD_EVAL_JUDGE_WORDS_H

/* Word classes ("@name" in patterns); words between blanks, "promot*" for a beginning.  Ends with
 * a NULL name. */
struct hold_judge_class {
    const char *name, *words;
};
extern const struct hold_judge_class hold_judge_classes[];

#endif
