#include "bm_shim.h"

#include <sys/stat.h>
#include <unistd.h>

/*
 * Gives a regular file the owner, group and permissions of another. Who may not give it to that owner keeps it, with the permissions for
 * themselves alone: the others were another group's.
 */
int32_t bm_take_access(const char *path, const char *from)
{
    struct stat like;
    struct stat own;
    mode_t mode;
    if (lstat(from, &like) == -1 || lstat(path, &own) == -1) {
        return -errno;
    }

    mode = like.st_mode & 0777;
    if ((like.st_uid != own.st_uid || like.st_gid != own.st_gid) && lchown(path, like.st_uid, like.st_gid) == -1) {
        if (errno != EPERM) {
            return -errno;
        }

        mode &= 0700;
    }

    return chmod(path, mode) == -1 ? -errno : 0;
}
