using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>The rig that other tests stand on: a check that fails there fails here.</summary>
public sealed class GuestRigTests
{
    [Fact]
    public async Task A_guest_has_the_kernel_s_drivers_and_this_program_and_tells_which_checks_fail()
    {
        using var folder = new TempFolder();
        var report = await Guest.RunAsync(
            $$"""
            check 'nbd is there' modprobe nbd
            check 'vfat is there' modprobe vfat
            check 'ntfs3 is there' modprobe ntfs3
            check 'the program runs' {{Blockmount.Program}} --version
            fails() { echo so it is; false; echo behind; }
            check 'it fails' fails
            stays() { sleep 1000 & }
            check 'what stays in the background holds nothing up' stays
            check 'it writes to what is shared' touch '{{folder["made"]}}'
            touch /tmp/only-in-the-guest-$$
            check 'values are passed' test "$VALUE" = 'a b'
            exit 7
            """,
            120,
            ["--share", folder.Root, "--env", "VALUE=a b"]);

        report.AssertOk("nbd is there");
        report.AssertOk("vfat is there");
        report.AssertOk("ntfs3 is there");
        report.AssertOk("the program runs");
        report.AssertOk("what stays in the background holds nothing up");
        report.AssertOk("it writes to what is shared");
        report.AssertOk("values are passed");
        Assert.True(File.Exists(folder["made"]));
        Assert.Empty(Directory.GetFiles("/tmp", "only-in-the-guest-*"));
        var failure = Assert.ThrowsAny<Exception>(() => report.AssertOk("it fails"));
        Assert.Contains("so it is", failure.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("behind", failure.Message, StringComparison.Ordinal);
        Assert.Contains("no check", Assert.ThrowsAny<Exception>(() => report.AssertOk("never made")).Message, StringComparison.Ordinal);
        Assert.Contains("exited 7", Assert.ThrowsAny<Exception>(() => report.AssertAllOk()).Message, StringComparison.Ordinal);
    }
}
