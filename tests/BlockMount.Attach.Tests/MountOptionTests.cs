using BlockMount.Attach.Loop;
using BlockMount.Core.Errors;

namespace BlockMount.Attach.Tests;

/// <summary>What mount is told; which of it the kernel takes is tested where there are such file systems.</summary>
public sealed class MountOptionTests
{
    [Theory]
    [InlineData("ext4", true, "ro,nodev,nosuid,errors=remount-ro,noload")]
    [InlineData("ext4", false, "rw,nodev,nosuid,errors=remount-ro")]
    [InlineData("xfs", true, "ro,nodev,nosuid,nouuid,norecovery")]
    [InlineData("btrfs", true, "ro,nodev,nosuid,rescue=nologreplay")]
    [InlineData("f2fs", true, "ro,nodev,nosuid,norecovery")]
    [InlineData("vfat", false, "rw,nodev,nosuid,umask=022,utf8=1,shortname=mixed,showexec,flush,uid=1000,gid=100")]
    [InlineData("vfat", true, "ro,nodev,nosuid,umask=022,utf8=1,shortname=mixed,showexec,uid=1000,gid=100")]
    [InlineData("squashfs", true, "ro,nodev,nosuid")]
    public void Each_file_system_is_mounted_as_is_best_for_it(string type, bool readOnly, string expected) =>
        Assert.Equal(expected, FileSystemOptions.For(type, new MountOptions(readOnly) { Owner = new MountOwner(1000, 100) }));

    [Fact]
    public void What_the_user_says_comes_last() => Assert.Equal(
        "ro,nodev,nosuid,umask=022,utf8=1,shortname=mixed,showexec,umask=077,uid=7",
        FileSystemOptions.For("vfat", new MountOptions(true) { Own = OwnOptions.Parse("umask=077,uid=7") }));

    [Theory]
    [InlineData("ext4", "bind")]
    [InlineData("ext4", "remount")]
    [InlineData("ext4", "loop")]
    [InlineData("ext4", "x-systemd.automount")]
    [InlineData("ext4", "dev")]
    [InlineData("ext4", "suid")]
    [InlineData("ext4", "errors=panic")]
    [InlineData("ext4", "barrier=0")]
    [InlineData("ext4", "nobarrier")]
    [InlineData("ext4", "noload")]
    [InlineData("xfs", "norecovery")]
    [InlineData("xfs", "logdev=/dev/sda")]
    [InlineData("btrfs", "device=/dev/sda")]
    [InlineData("ntfs", "force")]
    [InlineData("ext4", "ro")]
    [InlineData("ext4", "rootcontext=x")]
    public void An_option_that_endangers_this_host_or_the_disk_is_refused_with_the_reason(string type, string option)
    {
        var error = Assert.Throws<DiskException>(() => FileSystemOptions.For(type, new MountOptions(false) { Own = [option] }));
        Assert.Equal(ErrorKind.InvalidArgument, error.Kind);
        Assert.StartsWith($"The mount option '{option}' is refused: ", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void An_option_that_is_not_known_is_refused_and_the_known_ones_are_named()
    {
        var error = Assert.Throws<DiskException>(() => FileSystemOptions.For("xfs", new MountOptions(false) { Own = ["utf8"] }));
        Assert.StartsWith("The mount option 'utf8' is not known for xfs; known are allocsize, async, ", error.Message, StringComparison.Ordinal);
        Assert.Throws<DiskException>(() => FileSystemOptions.For("ext4", new MountOptions(true) { Own = ["rw"] }));
    }

    [Theory]
    [InlineData("")]
    [InlineData("a,,b")]
    [InlineData("-o")]
    [InlineData("a b")]
    [InlineData("a,\"b")]
    public void What_is_no_list_of_options_is_refused(string text) =>
        Assert.Equal(ErrorKind.InvalidArgument, Assert.Throws<DiskException>(() => OwnOptions.Parse(text)).Kind);

    [Theory]
    [InlineData("SUDO_UID=1000,SUDO_GID=100", 1000u, 100u)]
    [InlineData("PKEXEC_UID=1001", 1001u, 1001u)]
    [InlineData("SUDO_UID=x,SUDO_GID=100", null, null)]
    [InlineData("", null, null)]
    public void Files_belong_to_who_called_sudo(string environment, uint? user, uint? group)
    {
        var variables = environment.Split(',', StringSplitOptions.RemoveEmptyEntries).Select(v => v.Split('=')).ToDictionary(v => v[0], v => v[1], StringComparer.Ordinal);
        Assert.Equal(user is { } u && group is { } g ? new MountOwner(u, g) : null, MountOwner.OfCaller(variables.GetValueOrDefault));
    }
}
