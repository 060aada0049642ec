using BlockMount.Attach.Leftovers;
using BlockMount.Core.Errors;
using BlockMount.TestSupport;

namespace BlockMount.Attach.Tests;

public sealed class JournalTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void A_journal_tells_what_was_begun_and_not_undone_once_its_process_has_ended()
    {
        var path = _folder["7.mount"];
        using (var journal = MountJournal.Create(path, "/images/a b.vdi", "/mnt/x"))
        {
            var folder = journal.Begin(new MountStep(MountStepKind.Folder, "/run/x"));
            var loop = journal.Begin(new MountStep(MountStepKind.Loop, "/run/x/disk.raw"));
            journal.Made(loop, "/dev/loop3");
            var gone = journal.Begin(new MountStep(MountStepKind.Folder, "/mnt/x/p1"));
            journal.Undone(gone);
            journal.Begin(new MountStep(MountStepKind.FileSystem, "/mnt/x", "/dev/loop3"));
            Assert.Equal(0, folder);
            Assert.Null(AbandonedJournal.TryRead(path));
            Assert.Empty(Find());
            Assert.Equal(Environment.ProcessId, AbandonedMounts.LivingAt("/mnt/x", [_folder.Root]));
            Assert.Null(AbandonedMounts.LivingAt("/mnt/y", [_folder.Root]));
        }

        Assert.Null(AbandonedMounts.LivingAt("/mnt/x", [_folder.Root]));
        var read = Assert.Single(AbandonedJournal.In(_folder.Root));
        Assert.Equal(("/images/a b.vdi", "/mnt/x", Environment.ProcessId), (read.Image, read.Directory, read.Pid));
        Assert.Equal(
            [new(MountStepKind.Folder, "/run/x"), new(MountStepKind.Loop, "/run/x/disk.raw", "/dev/loop3"), new(MountStepKind.FileSystem, "/mnt/x", "/dev/loop3")],
            read.Steps);
    }

    [Fact]
    public void A_line_that_was_cut_off_is_as_if_it_was_not_there()
    {
        var read = AbandonedJournal.Parse("x", "{\"pid\":5,\"image\":\"i\",\"directory\":\"d\"}\n{\"step\":0,\"begin\":{\"kind\":\"Folder\",\"path\":\"/a\"}}\n{\"step\":0,\"und");
        Assert.Equal([new(MountStepKind.Folder, "/a")], read.Steps);
        Assert.Empty(AbandonedJournal.Parse("x", "").Steps);
    }

    [Fact]
    public void A_journal_is_never_made_over_another()
    {
        using var first = MountJournal.Create(_folder["x"], "i", "d");
        Assert.Equal(ErrorKind.AlreadyExists, Assert.Throws<DiskException>(() => MountJournal.Create(_folder["x"], "i", "d")).Kind);
        first.Remove();
        Assert.False(File.Exists(_folder["x"]));
    }

    [Fact]
    public async Task Only_what_a_journal_names_and_is_what_it_was_goes()
    {
        Peer.RequireRoot();
        Directory.CreateDirectory(_folder["mnt"]);
        Directory.CreateDirectory(_folder["empty"]);
        Directory.CreateDirectory(_folder["full"]);
        await File.WriteAllTextAsync(_folder["full/note"], "the user's");
        await File.WriteAllTextAsync(_folder["file"], new string('x', 4096));
        using var others = await TestMount.TmpfsAsync(_folder["mnt"], "size=1m");
        using var loop = await TestMount.LoopAsync(_folder["file"]);
        using (var journal = MountJournal.Create(_folder["9.mount"], "i", _folder["mnt"]))
        {
            journal.Begin(new MountStep(MountStepKind.Folder, _folder["empty"]));
            journal.Begin(new MountStep(MountStepKind.Folder, _folder["full"]));
            journal.Made(journal.Begin(new MountStep(MountStepKind.Loop, _folder["another file"])), loop.Path);
            journal.Begin(new MountStep(MountStepKind.FileSystem, _folder["mnt"], loop.Path));
            journal.Begin(new MountStep(MountStepKind.Files, _folder["mnt"]));
        }

        var found = Find();
        Assert.Equal([("folder", _folder["full"]), ("folder", _folder["empty"]), ("record", _folder["9.mount"])], found.Select(f => (f.Kind, f.What)));
        var results = await AbandonedMounts.RemoveAsync(found, TestContext.Current.CancellationToken);
        Assert.Equal([false, true, false], results.Select(r => r.Failure is null));
        Assert.False(Directory.Exists(_folder["empty"]));
        Assert.True(File.Exists(_folder["full/note"]));
        Assert.True(File.Exists(_folder["9.mount"]));
        Assert.Equal(_folder["file"], Host.LoopTable.BackingFileOf(loop.Path));
        Assert.Contains(_folder["mnt"], await File.ReadAllTextAsync("/proc/mounts", TestContext.Current.CancellationToken), StringComparison.Ordinal);
    }

    /// <summary>Other tests may leave mounts of killed processes at the same time.</summary>
    private List<Leftover> Find() => AbandonedMounts.Find([_folder.Root]).Where(l => l.What.StartsWith(_folder.Root, StringComparison.Ordinal)).ToList();
}
