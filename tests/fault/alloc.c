/* alloc.c: makes `faulty` of the program: an allocation of its main thread fails, jansson's among
 * them.
 *
 *     FAIL_AT=N FAIL_LEFT=FILE faulty ARGUMENTS...
 *
 * N: the n-th fails; -N: the n-th and all after it.  FILE gets how far the count had still to go:
 * 0: it was reached.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

static const char *left_path;

static void tell(void) {
    int64_t left = hold_mem_fail_at(0);
    FILE *f = left_path == NULL ? NULL : fopen(left_path, "w");
    if (f != NULL) {
        fprintf(f, "%lld\n", (long long)left);
        fclose(f);
    }
}

__attribute__((constructor)) static void begin(void) {
    const char *at = getenv("FAIL_AT");
    left_path = getenv("FAIL_LEFT");
    json_set_alloc_funcs(hold_malloc, hold_free);
    atexit(tell);
    hold_mem_fail_at(at == NULL ? 0 : strtoll(at, NULL, 10));
}
