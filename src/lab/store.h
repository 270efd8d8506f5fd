/* store.h: the memory of stages: artifacts by the bytes they hold, specs by what would make them.
 *
 *     STORE/spec/ID.json       pointer: {"content", "kind", "manifest"}; only --force replaces it
 *     STORE/artifact/CONTENT/  files of the artifact, manifest.json beside them; appears complete
 *                              by one rename that never replaces
 *     STORE/failed/ID.json     a deterministic failure (bad data, divergence) with its cause
 *     STORE/work/ID/           lease.json (owner, beat) and a folder for each owner
 *     STORE/pin/ID             a spec that gc keeps
 *     STORE/run/KEY.json       the specs that a run's folder needs
 *     STORE/lock/XX            advisory locks, held for moments
 *
 * The spec id is the SHA-256 of the canonical spec (kind, inputs by content id, resolved options,
 * seed, dtype, numerics versions).  The content id is the SHA-256 over the artifact's own files:
 * for each file in order of name, its name, length and SHA-256; manifest.json and the folder `log`
 * (times, rates) are not part of it.
 *
 * Several processes may use one store on one file system: a stage that another process makes is
 * waited for; a lease whose owner died (same machine: its process is gone; else: no heartbeat for
 * the lease's time) is taken over, in a new folder that starts from the last complete checkpoint;
 * an owner that lost its lease cannot publish.
 */
#ifndef HOLD_LAB_STORE_H
#define HOLD_LAB_STORE_H

#include <jansson.h>
#include <stdbool.h>

#include "base/ctx.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/str.h"

struct hold_store;
/* Opens or makes the folders.  A store that cannot be written is opened for reading with a warning;
 * making a stage in it then fails with one clear line. */
int hold_store_open(struct hold_store **out, const char *path, const struct hold_ctx *ctx,
                    struct hold_error *err);
void hold_store_close(struct hold_store *s);
const char *hold_store_path(const struct hold_store *s);
/* Seconds without a heartbeat after which an owner counts as gone (30 by default). */
void hold_store_set_lease(struct hold_store *s, double seconds);

/* spec: JSON object.  id: its SHA-256. */
int hold_spec_id(const json_t *spec, char id[HOLD_HASH_HEX], struct hold_error *err);

/* Has it been made?  content is written when *found.  A damaged pointer, a missing artifact and one
 * whose bytes are not those of its name are reported as not found, with a warning. */
int hold_store_find(struct hold_store *s, const char *id, char content[HOLD_HASH_HEX], bool *found,
                    struct hold_error *err);
/* *out (cleared) = path of the artifact's folder. */
void hold_store_artifact(const struct hold_store *s, const char *content, struct hold_str *out);
/* The artifact's manifest; new reference. */
int hold_store_manifest(struct hold_store *s, const char *content, json_t **out,
                        struct hold_error *err);
/* The manifest of a published spec: two specs may have made the same bytes.  New reference. */
int hold_store_spec_manifest(struct hold_store *s, const char *id, json_t **out,
                             struct hold_error *err);
/* The one id of a published spec or artifact that begins with `prefix` (at least 6 digits):
 * ENOTFOUND, EUSAGE when several do. */
int hold_store_look_up(struct hold_store *s, const char *prefix, char content[HOLD_HASH_HEX],
                       struct hold_error *err);

enum hold_work_flag {
    HOLD_WORK_RETRY = 1 << 0,  /* forget a remembered failure */
    HOLD_WORK_REMAKE = 1 << 1, /* make it although it was made (--force) */
    HOLD_WORK_TRY = 1 << 2     /* EBUSY instead of waiting for another process */
};
/* Work on a spec: takes the lease, waiting while another process makes it (progress says so).  On
 * return either *found (it is published) or *work is ours.  A remembered deterministic failure is
 * returned as its error unless HOLD_WORK_RETRY. */
struct hold_work;
int hold_store_work(struct hold_store *s, const char *id, unsigned flags, struct hold_work **work,
                    char content[HOLD_HASH_HEX], bool *found, struct hold_error *err);
/* Folder for the artifact's files, and folder for checkpoints (those of a former owner are taken
 * over into it). */
const char *hold_work_files(const struct hold_work *w);
const char *hold_work_checkpoints(const struct hold_work *w);
/* Publish the files with a manifest ({"kind","spec",...}: borrowed; content id, times and machine
 * are added).  With `replace` the pointer may be replaced (--force).  Ends the work, whatever is
 * returned; EBUSY: the lease was lost to another process meanwhile, the result is discarded. */
int hold_work_publish(struct hold_work *w, json_t *manifest, bool replace,
                      char content[HOLD_HASH_HEX], struct hold_error *err);
/* End without a result.  code: what happened; EDATA, EDIVERGED, EFORMAT, EUSAGE are remembered as
 * deterministic failures with `text`; others leave the checkpoints for the next run. */
void hold_work_drop(struct hold_work *w, int code, const char *text);

/* --- housekeeping --- */
/* One JSON object a published spec: {"id","content","kind","name","bytes","made","pinned"}. */
int hold_store_list(struct hold_store *s, json_t **out, struct hold_error *err);
/* id: a spec's id or the beginning of one. */
int hold_store_pin(struct hold_store *s, const char *id, bool pinned, struct hold_error *err);
/* Remember that the run in folder `dir` (absolute) rests on these n specs. */
int hold_store_note_run(struct hold_store *s, const char *dir, const char (*ids)[HOLD_HASH_HEX],
                        int n, struct hold_error *err);
/* Remove what is not reachable from pinned specs and from runs of the last `days` whose folder is
 * still there (and what was made within the last hour, unless days is 0); abandoned work and
 * remembered failures too.  dry: only say. */
int hold_store_gc(struct hold_store *s, double days, bool dry, int64_t *bytes, int64_t *n,
                  struct hold_error *err);
/* Recompute every content id; *bad counts artifacts that do not match (each is logged). */
int hold_store_verify(struct hold_store *s, int64_t *n, int64_t *bad, struct hold_error *err);

#endif
