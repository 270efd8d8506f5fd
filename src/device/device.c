/* device.c: what is the same for every device: counters, the sticky error, the end. */
#include "device/device.h"

#include <stdarg.h>
#include <string.h>

#include "base/str.h"
#include "device/state.h"

void hold_device_count(struct hold_device *d, int64_t bytes) {
    struct hold_device_state *s = hold_device_state(d);
    s->bytes += bytes;
    if (s->bytes > s->peak)
        s->peak = s->bytes;
}

void hold_device_stick(struct hold_device *d, int code, const char *format, ...) {
    struct hold_device_state *s = hold_device_state(d);
    if (s->sticky.code)
        return;
    char text[256];
    va_list args;
    va_start(args, format);
    hold_vformat(text, sizeof(text), format, args);
    va_end(args);
    hold_fail(&s->sticky, code, "%s", text);
}

int hold_device_sync(struct hold_device *d, struct hold_error *err) {
    struct hold_device_state *s = hold_device_state(d);
    int code = s->sticky.code;
    if (!code)
        return HOLD_OK;
    *err = s->sticky;
    s->sticky.code = HOLD_OK;
    return code;
}

void hold_device_free(struct hold_device *d) {
    if (d)
        hold_device_state(d)->destroy(d);
}

int64_t hold_device_bytes(const struct hold_device *d, int64_t *peak) {
    const struct hold_device_state *s = (const struct hold_device_state *)(const void *)d;
    if (peak)
        *peak = s->peak;
    return s->bytes;
}

const char *hold_device_isa(const struct hold_device *d) {
    return ((const struct hold_device_state *)(const void *)d)->isa;
}

int hold_device_set_dtype(struct hold_device *d, const char *dtype, struct hold_error *err) {
    bool bf16 = strcmp(dtype, "bf16") == 0;
    if (!bf16 && strcmp(dtype, "f32") != 0)
        return hold_fail(err, HOLD_EUSAGE, "dtype: found '%s', expected f32 or bf16", dtype);
    hold_device_state(d)->bf16 = bf16;
    return HOLD_OK;
}

const char *hold_device_dtype(const struct hold_device *d) {
    return ((const struct hold_device_state *)(const void *)d)->bf16 ? "bf16" : "f32";
}

const char *hold_device_bf16_unit(const struct hold_device *d) {
    return ((const struct hold_device_state *)(const void *)d)->bf16_unit;
}

double hold_device_peak_gflops(struct hold_device *d) {
    const struct hold_device_state *s = hold_device_state(d);
    return s->peak_gflops ? s->peak_gflops(d) : 0;
}

double hold_device_peak_bf16_gflops(struct hold_device *d) {
    const struct hold_device_state *s = hold_device_state(d);
    return s->peak_bf16_gflops ? s->peak_bf16_gflops(d) : 0;
}

double hold_device_flop(const struct hold_device *d) {
    return ((const struct hold_device_state *)(const void *)d)->flop;
}
