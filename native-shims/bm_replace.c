#include "bm_shim.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * Gives a file the name of another regular one, in its place, in one step, and the other's owner, group and permissions before that.
 * A BM_REPLACE_ result: one but DONE has changed nothing.
 */
int32_t bm_replace(const char *from, const char *to)
{
    struct stat old;
    struct stat made;
    if (lstat(to, &old) == -1 || lstat(from, &made) == -1) {
        return -errno;
    }

    if (S_ISLNK(old.st_mode)) {
        return BM_REPLACE_SYMLINK;
    }

    if (!S_ISREG(old.st_mode)) {
        return BM_REPLACE_NO_FILE;
    }

    if (old.st_nlink != 1) {
        return BM_REPLACE_SEVERAL_NAMES;
    }

    if ((old.st_uid != made.st_uid || old.st_gid != made.st_gid) && lchown(from, old.st_uid, old.st_gid) == -1) {
        return -errno;
    }

    if (chmod(from, old.st_mode & 07777) == -1) {
        return -errno;
    }

    return rename(from, to) == -1 ? -errno : BM_REPLACE_DONE;
}
