using System.Collections.Frozen;
using BlockMount.Core.Errors;

namespace BlockMount.Attach.Loop;

/// <summary>
/// Which mount options a user may add. Those that make <c>mount</c> do something else, that trust the image with this host, or that lose what was flushed
/// are refused with a reason; others must be known, because a typing error could be one of them.
/// </summary>
public static class OwnOptions
{
    private static readonly FrozenSet<string> s_anywhere = Set(
        "ro rw noatime atime relatime norelatime strictatime nostrictatime nodiratime diratime lazytime nolazytime sync async dirsync exec noexec nodev nosuid iversion noiversion nosymfollow");

    private static readonly FrozenDictionary<string, FrozenSet<string>> s_known = new Dictionary<string, FrozenSet<string>>(StringComparer.Ordinal)
    {
        ["ext2"] = Set("acl noacl user_xattr nouser_xattr errors sb grpid nogrpid bsdgroups sysvgroups resuid resgid nouid32 minixdf bsddf"),
        ["ext3"] = Set(Ext4),
        ["ext4"] = Set(Ext4),
        ["xfs"] = Set("discard nodiscard norecovery nouuid inode32 inode64 largeio nolargeio logbufs logbsize swalloc noalign allocsize wsync filestreams attr2 ikeep noikeep grpid nogrpid uquota gquota pquota noquota"),
        ["btrfs"] = Set("subvol subvolid compress compress-force discard nodiscard ssd nossd ssd_spread autodefrag noautodefrag datacow nodatacow datasum nodatasum commit flushoncommit noflushoncommit space_cache nospace_cache clear_cache rescue degraded skip_balance thread_pool max_inline acl noacl treelog notreelog user_subvol_rm_allowed"),
        ["f2fs"] = Set("norecovery disable_roll_forward background_gc gc_merge nogc_merge discard nodiscard user_xattr nouser_xattr acl noacl inline_data noinline_data inline_dentry noinline_dentry extent_cache noextent_cache alloc_mode compress_algorithm checkpoint_merge nocheckpoint_merge lazytime"),
        ["vfat"] = Set("uid gid umask fmask dmask allow_utime codepage iocharset utf8 shortname nonumtail uni_xlate quiet showexec flush check discard tz time_offset usefree rodir errors sys_immutable dots nodots dos1xfloppy"),
        ["exfat"] = Set("uid gid umask fmask dmask allow_utime iocharset errors discard keep_last_dots sys_tz time_offset zero_size_dir"),
        ["ntfs"] = Set("uid gid umask fmask dmask iocharset windows_names nohidden hide_dot_files hide_hid_files discard sparse showmeta sys_immutable prealloc acl nocase norecover permissions show_sys_files streams_interface compression locale"),
        ["hfs"] = Set("uid gid umask file_umask dir_umask creator type session part quiet codepage iocharset"),
        ["hfsplus"] = Set("uid gid umask creator type session part nls decompose nodecompose"),
        ["iso9660"] = Set("uid gid mode dmode norock nojoliet iocharset utf8 session sbsector map check block hide unhide showassoc cruft overriderockperm"),
        ["udf"] = Set("uid gid umask mode dmode iocharset utf8 nostrict unhide undelete session lastblock anchor noadinicb adinicb shortad longad bs"),
        ["squashfs"] = Set("errors threads"),
        ["reiserfs"] = Set("nolog notail conv hash acl noacl user_xattr"),
    }.ToFrozenDictionary(StringComparer.Ordinal);

    private const string Ext4 =
        "acl noacl user_xattr nouser_xattr errors discard nodiscard data commit sb delalloc nodelalloc stripe journal_checksum auto_da_alloc noauto_da_alloc noload norecovery "
        + "grpid nogrpid bsdgroups sysvgroups resuid resgid dioread_lock dioread_nolock max_batch_time min_batch_time inode_readahead_blks init_itable noinit_itable noquota usrquota grpquota prjquota i_version";

    /// <summary>Takes apart what was given as <c>a,b=c</c>.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.InvalidArgument"/>: an option is empty or has characters that none has.</exception>
    public static IReadOnlyList<string> Parse(string text)
    {
        var options = text.Split(',');
        return options.FirstOrDefault(static o => o.Length == 0 || o[0] is '-' or '=' || o.Any(static c => c <= ' ' || c is '"' or '\'' or '\\' or '\u007f')) is { } bad
            ? throw Refused($"'{bad}' in '{text}' is no mount option; write names and values as in noatime,commit=30.")
            : options;
    }

    /// <summary>Checks options for a file system.</summary>
    /// <exception cref="DiskException"><see cref="ErrorKind.InvalidArgument"/> with the option and why it is refused.</exception>
    internal static void Check(string type, MountOptions options)
    {
        foreach (var option in options.Own)
        {
            var mark = option.IndexOf('=', StringComparison.Ordinal);
            var (name, value) = mark < 0 ? (option, "") : (option[..mark], option[(mark + 1)..]);
            if (WhyNot(name, value, options.IsReadOnly) is { } reason)
            {
                throw Refused($"The mount option '{option}' is refused: {reason}");
            }

            if (!s_anywhere.Contains(name) && s_known.GetValueOrDefault(type)?.Contains(name) != true)
            {
                throw Refused($"The mount option '{name}' is not known for {type}; known are {string.Join(", ", Known(type))}.");
            }
        }
    }

    private static IEnumerable<string> Known(string type) => s_anywhere.Concat(s_known.GetValueOrDefault(type) ?? []).Order(StringComparer.Ordinal);

    private static string? WhyNot(string name, string value, bool isReadOnly) => name switch
    {
        "rw" when isReadOnly => "the disk is opened read-only.",
        "ro" when !isReadOnly => "the disk is opened for writing; give --read-only instead.",
        "noload" or "norecovery" or "disable_roll_forward" or "rescue" or "nolog" or "norecover" when !isReadOnly =>
            "writing to a file system whose journal was not replayed destroys it; it is for --read-only.",
        "dev" or "suid" => "an image is not trusted with device nodes and set-user-id programs; who trusts this one runs mount -o remount,dev,suid on the folder afterwards.",
        "errors" when value is "panic" => "an error in the image would stop this host.",
        "fatal_errors" => "an error in the image would stop this host.",
        "nobarrier" => Unflushed,
        "barrier" when value is "0" or "none" => Unflushed,
        "journal_async_commit" => Unflushed,
        "force" => "it writes to a volume that is known to be damaged.",
        "remove_hiberfile" => "it deletes the state of a hibernated Windows.",
        "device" or "logdev" or "rtdev" or "journal_dev" or "journal_path" => "a disk's file system does not reach for other devices.",
        "loop" or "offset" or "sizelimit" or "encryption" => "the block device is made by this program.",
        "bind" or "rbind" or "move" or "remount" or "shared" or "rshared" or "slave" or "rslave" or "private" or "rprivate" or "unbindable" or "runbindable" =>
            "it makes mount do something else than mount this file system.",
        "user" or "users" or "nouser" or "owner" or "group" or "auto" or "noauto" or "defaults" or "nofail" or "_netdev" or "comment" or "helper" or "uhelper" =>
            "it is for lines of fstab.",
        _ when name.StartsWith("x-", StringComparison.OrdinalIgnoreCase) => "it is for lines of fstab.",
        _ when name.Contains("context", StringComparison.Ordinal) => "security labels are not given here.",
        _ => null,
    };

    private const string Unflushed = "what programs flushed could be lost.";

    private static FrozenSet<string> Set(string names) => names.Split(' ').ToFrozenSet(StringComparer.Ordinal);

    private static DiskException Refused(string message) => new(ErrorKind.InvalidArgument, message);
}
