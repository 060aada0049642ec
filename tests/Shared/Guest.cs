using System.Text;

namespace BlockMount.TestSupport;

/// <summary>
/// Runs checks in a Linux guest whose kernel has what this machine's may lack, over this machine's own files (<c>tests/guest/run</c>). A boot
/// takes some seconds and programs run many times slower there, so one script makes many checks.
/// </summary>
internal static class Guest
{
    private const int CouldNotRun = 125;

    /// <summary>The folder of the rig, beside the test program.</summary>
    public static string Folder { get; } = Path.Combine(AppContext.BaseDirectory, "guest");

    /// <summary>Skips the test where guests cannot be run, or are not wanted: each takes minutes.</summary>
    public static void Require()
    {
        if (Environment.GetEnvironmentVariable("BLOCKMOUNT_TEST_QUICK") == "1")
        {
            Assert.Skip("guests are left out of a quick run");
        }

        Peer.Require("qemu-system-x86_64", "qemu-system-x86");
        Peer.Require("busybox", "busybox-static");
        Peer.Require("cpio", "cpio");
        Peer.Require("modprobe", "kmod");
        Peer.Require("xz", "xz-utils");
    }

    /// <summary>Runs a script of bash that calls <c>check NAME COMMAND</c>, explained in <c>tests/guest/checks.sh</c>.</summary>
    /// <param name="script">The script; programs stand where they stand on this machine, and what it writes is gone with the guest.</param>
    /// <param name="timeoutSeconds">For the boot and the script.</param>
    /// <param name="options">Of <c>tests/guest/run</c>.</param>
    public static async Task<GuestReport> RunAsync(string script, int timeoutSeconds = 240, params string[] options)
    {
        Require();
        using var folder = new TempFolder();
        await File.WriteAllTextAsync(folder["script"], $". '{Folder}/checks.sh'\n{script}\n");

        // Emulated, .NET programs start faster when they do not count what runs often.
        string[] limit = ["--timeout", $"{timeoutSeconds}", "--env", "DOTNET_TieredPGO=0"];

        // The rig ends the guest itself; it may first have to fetch the kernel.
        var result = await Peer.RunAsync(Path.Combine(Folder, "run"), [.. limit, .. options, folder["script"]], timeoutSeconds: timeoutSeconds + 120);
        Peer.Require(!LacksKernel(result), result.Error.Trim());
        return new GuestReport(result);
    }

    private static bool LacksKernel(PeerResult result) => result.ExitCode == CouldNotRun
        && (result.Error.Contains("apt knows no package", StringComparison.Ordinal) || result.Error.Contains("could not be fetched", StringComparison.Ordinal));
}

/// <summary>What the checks of one boot said.</summary>
internal sealed class GuestReport
{
    private readonly Dictionary<string, (bool IsOk, string Text)> _checks = new(StringComparer.Ordinal);
    private readonly PeerResult _result;

    public GuestReport(PeerResult result)
    {
        _result = result;
        string? failed = null;
        var text = new StringBuilder();
        foreach (var line in result.Output.Split('\n'))
        {
            if (failed is not null && line.StartsWith("    ", StringComparison.Ordinal))
            {
                _checks[failed] = (false, text.AppendLine(line).ToString());
                continue;
            }

            failed = null;
            if (line.EndsWith(": ok", StringComparison.Ordinal))
            {
                Add(line[..^": ok".Length], true, line);
            }
            else if (line.IndexOf(": FAILED (", StringComparison.Ordinal) is > 0 and var at)
            {
                failed = line[..at];
                text.Clear().AppendLine(line);
                Add(failed, false, line);
            }
        }
    }

    /// <summary>Names of the checks that were made, in no order.</summary>
    public IReadOnlyCollection<string> Names => _checks.Keys;

    /// <summary>Everything the script printed.</summary>
    public string Output => _result.Output;

    /// <summary>Fails unless the check was made and found everything well.</summary>
    public void AssertOk(string name)
    {
        Assert.True(_checks.TryGetValue(name, out var check), $"the guest made no check \"{name}\"; it exited {_result.ExitCode}: {_result.Error}{_result.Output}");
        Assert.True(check.IsOk, check.Text);
    }

    /// <summary>Fails unless the script came to its end and exactly these checks were made, all well.</summary>
    public void AssertAllOk(params string[] names)
    {
        Assert.True(_result.ExitCode == 0, $"the guest exited {_result.ExitCode}: {_result.Error}{_result.Output}");
        Assert.Equal(names.Order(StringComparer.Ordinal), Names.Order(StringComparer.Ordinal));
        var failed = _checks.Values.Where(static c => !c.IsOk).Select(static c => c.Text).ToList();
        Assert.True(failed.Count == 0, string.Concat(failed));
    }

    private void Add(string name, bool isOk, string text) =>
        Assert.True(_checks.TryAdd(name, (isOk, text)), $"two checks of the guest are called \"{name}\"");
}
