#include "bm_shim.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* Gives a file another name in one step, unless that name exists: -EEXIST then. */
int32_t bm_rename_new(const char *from, const char *to)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) {
        return 0;
    }

    /* Not every file system knows how; on those a second name does the same. */
    if (errno != EINVAL && errno != ENOSYS) {
        return -errno;
    }

    if (link(from, to) == -1) {
        return -errno;
    }

    return unlink(from) == -1 ? -errno : 0;
}
