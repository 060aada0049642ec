using System.Text.Json;
using BlockMount.TestSupport;

namespace BlockMount.Host.Tests;

/// <summary>What <c>formats</c> lists is what <c>create</c> makes, by the file system's own account of the space.</summary>
public sealed class FormatsTests : IDisposable
{
    private const long Size = 64 << 20;

    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Every_extension_and_variant_that_is_listed_can_be_created_and_takes_the_space_that_its_name_says()
    {
        using var document = JsonDocument.Parse(await Blockmount.OkAsync("formats", "--json"));
        var formats = document.RootElement.EnumerateArray().ToList();
        Assert.Equal(["vdi", "vmdk", "vhd", "raw"], formats.Select(static f => f.GetProperty("name").GetString()));
        foreach (var format in formats)
        {
            var name = format.GetProperty("name").GetString()!;
            foreach (var variant in Texts(format, "variants"))
            {
                var path = _folder[$"{variant}.{name}"];
                await Blockmount.OkAsync("create", path, "--size", $"{Size}", "--variant", variant);
                using var info = JsonDocument.Parse(await Blockmount.OkAsync("info", "--json", path));
                var image = info.RootElement.GetProperty("images")[0];
                Assert.Equal(name, image.GetProperty("format").GetString());
                Assert.Equal(Size, image.GetProperty("capacity").GetInt64());
                var space = await SpaceAsync($"{variant}*.{name}");
                var isFixed = variant is "fixed" or "split2g-fixed" or "esx";
                Assert.True(isFixed ? space >= Size : space < Size / 8, $"{variant} {name} takes {space}");
                Directory.GetFiles(_folder.Root).ToList().ForEach(File.Delete);
            }

            foreach (var extension in Texts(format, "extensions"))
            {
                using var made = JsonDocument.Parse(await Blockmount.OkAsync("create", "--json", _folder["x" + extension], "--size", "1M"));
                Assert.Equal(name, made.RootElement.GetProperty("format").GetString());
            }

            Assert.Equal(format.GetProperty("differencing").GetBoolean(), Texts(format, "capabilities").Contains("differencing"));
            Assert.Equal(format.GetProperty("config_keys").GetArrayLength() > 0, Texts(format, "capabilities").Contains("config"));
        }

        var keys = formats[1].GetProperty("config_keys").EnumerateArray().ToDictionary(static k => k.GetProperty("name").GetString()!, static k => k.GetProperty("kind").GetString());
        Assert.Equal(("text", "text", "bytes", "flag", "integer"), (keys["RawDrive"], keys["Partitions"], keys["BootSector"], keys["Relative"], keys["AllocationBlockSize"]));
        Assert.Contains("create_split2g", Texts(formats[1], "capabilities"));
    }

    [Fact]
    public async Task The_table_for_people_names_the_same()
    {
        var text = await Blockmount.OkAsync("formats");
        foreach (var word in new[] { ".vmdk", "split2g-fixed", "can have a parent", "AllocationBlockSize", "RawDrive" })
        {
            Assert.Contains(word, text, StringComparison.Ordinal);
        }
    }

    private static List<string> Texts(JsonElement element, string name) => element.GetProperty(name).EnumerateArray().Select(static t => t.GetString()!).ToList();

    private async Task<long> SpaceAsync(string files)
    {
        var blocks = await Peer.RunOkAsync("/bin/bash", "-c", $"stat -c %b {_folder[files]}");
        return blocks.Split('\n', StringSplitOptions.RemoveEmptyEntries).Sum(static b => long.Parse(b) * 512);
    }
}
