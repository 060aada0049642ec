using System.Diagnostics;
using System.Text.Json;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary><c>convert</c> in every direction against qemu-img, a tree of images copied one by one, and the end of a copy by Ctrl+C.</summary>
public sealed class ConvertTests : IDisposable
{
    private static readonly string[] Kinds = ["raw", "vdi", "vdi fixed", "vmdk", "vmdk fixed", "vmdk split2g", "vmdk split2g-fixed", "vmdk esx", "vmdk stream", "vhd", "vhd fixed"];

    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    public static TheoryData<string> Sources => [.. Kinds];

    [Theory]
    [MemberData(nameof(Sources))]
    public async Task A_disk_of_one_kind_copied_to_every_other_is_the_same_for_qemu(string source)
    {
        Peer.Require("qemu-img", "qemu-utils");
        var disk = new byte[(9 << 20) + (3 * 512)];
        new Random(1).NextBytes(disk.AsSpan(100_000, 2 << 20));
        new Random(2).NextBytes(disk.AsSpan(disk.Length - 70_000));
        await File.WriteAllBytesAsync(_folder["disk.raw"], disk);
        var from = await MakeAsync(source, _folder["disk.raw"], "from");
        foreach (var kind in Kinds)
        {
            var to = await MakeAsync(kind, from, "to");
            await Peer.RunOkAsync("qemu-img", "compare", "-f", "raw", "-F", QemuName(kind), _folder["disk.raw"], to);
            if (kind.Split(' ')[0] is "vdi" or "vmdk" && kind is not ("vmdk esx" or "vmdk fixed" or "vmdk split2g-fixed"))
            {
                await Peer.RunOkAsync("qemu-img", "check", "-f", QemuName(kind), to);
            }

            Directory.GetFiles(_folder.Root, "to*").ToList().ForEach(File.Delete);
        }
    }

    /// <summary>The tree that VirtualBox tests its own copies with, an eighth as large: a base and four snapshots, written at random.</summary>
    [Theory]
    [InlineData("vdi")]
    [InlineData("vmdk")]
    [InlineData("vhd")]
    public async Task Every_image_of_a_tree_copied_as_a_layer_shows_the_same_disk_and_is_no_bigger(string format)
    {
        Peer.Require("qemu-io", "qemu-utils");
        const int mega = 1 << 20;
        var random = new Random(5);
        var disks = new List<string>();
        for (var level = 0; level < 5; level++)
        {
            var image = _folder[$"L{level}.{format}"];
            await Blockmount.OkAsync(level == 0 ? ["create", image, "--size", "128M"] : ["create", image, "--parent", _folder[$"L{level - 1}.{format}"]]);
            var (from, to, block, total) = level switch
            {
                0 => (0, 64 * mega, mega / 16, 32 * mega),
                1 => (64 * mega, 128 * mega, mega / 16, 16 * mega),
                _ => (0, 128 * mega, mega, 6 * mega),
            };
            var writes = Enumerable.Range(0, total / block).SelectMany(_ => new[] { "-c", $"write -q -P {random.Next(1, 256)} {from + (random.Next((to - from) / block) * block)} {block}" });
            await using var server = await Server.StartAsync(_folder[$"s{level}"], image);
            await Peer.RunOkAsync("qemu-io", ["-f", "raw", .. writes, "-c", "flush", server.Uri]);
            Assert.Equal(0, await server.StopAsync());
            disks.Add(await Sha256Async(image));
        }

        Assert.Equal(5, disks.Distinct().Count());
        Directory.CreateDirectory(_folder["copy"]);
        string? parent = null;
        for (var level = 0; level < 5; level++)
        {
            var (image, copy) = (_folder[$"L{level}.{format}"], _folder[$"copy/L{level}.{format}"]);
            await Blockmount.OkAsync(level == 0 ? ["convert", image, copy] : ["convert", "--keep-parent", image, copy]);
            Assert.Equal(disks[level], await Sha256Async(copy));
            Assert.True(new FileInfo(copy).Length <= new FileInfo(image).Length, $"{new FileInfo(copy).Length} bytes of {new FileInfo(image).Length} at {level}");

            // On the copy of its parent, of which nothing but the marks differs, it shows the same; VMDKs of qemu and VMware count as well.
            if (parent is not null && format == "vdi")
            {
                using var info = JsonDocument.Parse(await Blockmount.OkAsync("info", "--json", parent));
                var last = info.RootElement.GetProperty("images").EnumerateArray().Last();
                await Blockmount.OkAsync(
                    "set", copy, "--parent-uuid", last.GetProperty("uuid").GetString()!, "--parent-modification-uuid", last.GetProperty("modification_uuid").GetString()!);
            }

            parent = copy;
        }

        if (format == "vdi")
        {
            Directory.GetFiles(_folder.Root, "L*").ToList().ForEach(File.Delete);
            Assert.Equal(disks[4], await Sha256Async(_folder["copy/L4.vdi"]));
        }
    }

    [Theory]
    [InlineData("to.vdi", "dynamic")]
    [InlineData("to.vmdk", "stream")]
    [InlineData("to.vmdk", "split2g")]
    [InlineData("to.raw", "fixed")]
    public async Task Ctrl_C_ends_a_copy_and_leaves_nothing_of_it(string name, string variant)
    {
        await Peer.RunOkAsync("/bin/bash", "-c", $"yes 'some bytes that are not zero' | head -c 1G > {_folder["from.raw"]}");
        using var convert = Process.Start(new ProcessStartInfo(Blockmount.Program, ["convert", "--variant", variant, _folder["from.raw"], _folder[name]]) { UseShellExecute = false, RedirectStandardError = true, RedirectStandardOutput = true })!;
        for (var i = 0; i < 2000 && !(File.Exists(_folder[name]) && Directory.GetFiles(_folder.Root, "to*").Sum(static f => new FileInfo(f).Length) > 1 << 20); i++)
        {
            await Task.Delay(5);
        }

        await Peer.RunOkAsync("/bin/kill", "-INT", convert.Id.ToString());
        var error = await convert.StandardError.ReadToEndAsync();
        await convert.WaitForExitAsync();
        Assert.Equal((1, "blockmount: interrupted; nothing was left half done.\n"), (convert.ExitCode, error));
        Assert.Equal([_folder["from.raw"]], Directory.GetFiles(_folder.Root));
    }

    private static string QemuName(string kind) => kind.Split(' ')[0] is var format && format == "vhd" ? "vpc" : format;

    private static Task<string> Sha256Async(string image) => Blockmount.Sha256OfAsync($"{Blockmount.Program} convert {image} -");

    private async Task<string> MakeAsync(string kind, string source, string stem)
    {
        var words = kind.Split(' ');
        var path = _folder[$"{stem}.{words[0]}"];
        await Blockmount.OkAsync(["convert", source, path, .. words.Length > 1 ? ["--variant", words[1]] : Array.Empty<string>()]);
        return path;
    }
}
