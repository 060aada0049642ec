#include "bm_shim.h"

#include <grp.h>
#include <stdlib.h>

/* A group with many members needs much room: it is tried again with more, up to this many bytes. */
#define LARGEST_ENTRY (1 << 20)

/* -ENOENT when there is none. */
int64_t bm_group_by_name(const char *name)
{
    for (size_t size = 16384; size <= LARGEST_ENTRY; size *= 4) {
        char *buffer = malloc(size);
        if (buffer == NULL) {
            return -ENOMEM;
        }

        struct group entry;
        struct group *found = NULL;
        int error = getgrnam_r(name, &entry, buffer, size, &found);
        int64_t result = found != NULL ? (int64_t)entry.gr_gid : error != 0 ? -error : -ENOENT;
        free(buffer);
        if (result != -ERANGE) {
            return result;
        }
    }

    return -ERANGE;
}
