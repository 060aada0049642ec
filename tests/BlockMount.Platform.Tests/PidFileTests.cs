using System.Diagnostics;
using BlockMount.Core.Errors;
using BlockMount.Platform.Hosts;

namespace BlockMount.Platform.Tests;

public sealed class PidFileTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void It_holds_the_number_from_the_first_moment_and_is_gone_at_the_end()
    {
        using (PidFile.Create(_folder["p"]))
        {
            Assert.Equal($"{Environment.ProcessId}\n", File.ReadAllText(_folder["p"]));
            Assert.Equal(["p"], Names());
        }

        Assert.Empty(Names());
    }

    [Fact]
    public void A_file_that_is_held_is_not_taken_and_the_process_is_named()
    {
        using var held = PidFile.Create(_folder["p"]);
        var error = Assert.Throws<DiskException>(() => PidFile.Create(_folder["p"]));

        Assert.Equal(ErrorKind.Busy, error.Kind);
        Assert.Contains($"process {Environment.ProcessId} (", error.Message, StringComparison.Ordinal);
        Assert.Equal(["p"], Names());
    }

    [Fact]
    public void A_file_of_a_process_that_runs_and_holds_no_lock_is_not_taken_either()
    {
        using var other = Process.Start(new ProcessStartInfo("sleep", ["60"]) { UseShellExecute = false })!;
        try
        {
            File.WriteAllText(_folder["p"], $"{other.Id}\n");
            var error = Assert.Throws<DiskException>(() => PidFile.Create(_folder["p"]));
            Assert.Equal(ErrorKind.Busy, error.Kind);
            Assert.Contains($"process {other.Id} (sleep)", error.Message, StringComparison.Ordinal);
        }
        finally
        {
            other.Kill();
            other.WaitForExit();
        }

        using var file = PidFile.Create(_folder["p"]);
        Assert.Equal($"{Environment.ProcessId}\n", File.ReadAllText(_folder["p"]));
    }

    [Theory]
    [InlineData("")]
    [InlineData("\n")]
    [InlineData("own")]
    [InlineData("dead")]
    public void What_a_dead_process_left_is_replaced(string content)
    {
        File.WriteAllText(_folder["p"], content == "own" ? $"{Environment.ProcessId}\n" : content == "dead" ? $"{int.MaxValue}" : content);
        using var file = PidFile.Create(_folder["p"]);

        Assert.Equal($"{Environment.ProcessId}\n", File.ReadAllText(_folder["p"]));
    }

    [Theory]
    [InlineData("notes\n")]
    [InlineData("12 13\n")]
    [InlineData("99999999999\n")]
    [InlineData("1234567890123456789012345678901234567890")]
    public void Somebodys_file_is_not_touched(string content)
    {
        File.WriteAllText(_folder["p"], content);

        Assert.Equal(ErrorKind.AlreadyExists, Assert.Throws<DiskException>(() => PidFile.Create(_folder["p"])).Kind);
        Assert.Equal(content, File.ReadAllText(_folder["p"]));
        Assert.Equal(["p"], Names());
    }

    [Fact]
    public void A_link_a_directory_and_a_missing_directory_are_refused()
    {
        File.CreateSymbolicLink(_folder["l"], _folder["elsewhere"]);
        Directory.CreateDirectory(_folder["d"]);

        Assert.Equal(ErrorKind.AlreadyExists, Assert.Throws<DiskException>(() => PidFile.Create(_folder["l"])).Kind);
        Assert.Equal(ErrorKind.AlreadyExists, Assert.Throws<DiskException>(() => PidFile.Create(_folder["d"])).Kind);
        Assert.Equal(ErrorKind.NotFound, Assert.Throws<DiskException>(() => PidFile.Create(_folder["none/p"])).Kind);
        Assert.False(File.Exists(_folder["elsewhere"]));
    }

    [Fact]
    public void Of_many_that_want_the_same_file_exactly_one_has_it_at_a_time()
    {
        File.WriteAllText(_folder["p"], $"{int.MaxValue}");
        var (holders, most, wins) = (0, 0, 0);
        Parallel.For(0, 4000, new ParallelOptions { MaxDegreeOfParallelism = 8 }, _ =>
        {
            try
            {
                using var file = PidFile.Create(_folder["p"]);
                var now = Interlocked.Increment(ref holders);
                InterlockedMax(ref most, now);
                Interlocked.Increment(ref wins);
                Thread.SpinWait(1000);
                Interlocked.Decrement(ref holders);
            }
            catch (DiskException e) when (e.Kind == ErrorKind.Busy)
            {
                // Somebody else has it.
            }
        });

        Assert.Equal(1, most);
        Assert.InRange(wins, 1, 4000);
        Assert.Empty(Names());
    }

    private static void InterlockedMax(ref int target, int value)
    {
        int seen;
        while ((seen = Volatile.Read(ref target)) < value)
        {
            Interlocked.CompareExchange(ref target, value, seen);
        }
    }

    private IEnumerable<string?> Names() => Directory.GetFileSystemEntries(_folder.Root).Select(Path.GetFileName);
}
