#include "bm_shim.h"

#include <pwd.h>
#include <stddef.h>

/* -ENOENT when there is none. getpwnam_r wants a buffer whose size nobody can tell; entries larger than this one are not found. */
int64_t bm_user_by_name(const char *name)
{
    char buffer[16384];
    struct passwd entry;
    struct passwd *found = NULL;
    int error = getpwnam_r(name, &entry, buffer, sizeof buffer, &found);
    return found != NULL ? (int64_t)entry.pw_uid : error != 0 ? -error : -ENOENT;
}
