/* state.h: what every device keeps beside its kernel table; private to src/device. */
#ifndef HOLD_DEVICE_STATE_H
#define HOLD_DEVICE_STATE_H

#include "device/device.h"

/* Every device's own struct begins with this one, and this one with struct hold_device. */
struct hold_device_state {
    struct hold_device device;
    const char *isa, *bf16_unit;
    bool bf16;           /* the dtype */
    int64_t bytes, peak; /* held now, most ever held */
    double flop;         /* 2 a multiply-add of gemm, weight products and attention */
    struct hold_error sticky;
    void (*destroy)(struct hold_device *d);
    /* NULL: has none */
    double (*peak_gflops)(struct hold_device *d);
    double (*peak_bf16_gflops)(struct hold_device *d);
};

static inline struct hold_device_state *hold_device_state(struct hold_device *d) {
    return (struct hold_device_state *)(void *)d;
}

void hold_device_count(struct hold_device *d, int64_t bytes); /* bytes < 0: given back */
/* Remember the first failure until sync; arguments as hold_fail. */
void hold_device_stick(struct hold_device *d, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int hold_device_sync(struct hold_device *d, struct hold_error *err);

#endif
