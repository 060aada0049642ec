using System.Reflection;
using BlockMount.Core.Formats;

namespace BlockMount.Core.Tests;

/// <summary>VBOXHDD.md keeps its word: it has every name of the header of 2010, and what it names in return is there.</summary>
public sealed class VBoxHddPageTests
{
    private const string NotYet = "not yet";

    /// <summary>The header's functions, structures, interfaces, flags, capabilities and the codes that its comments promise.</summary>
    private const string Header = """
        VDInit VDShutdown VDBackendInfo VDBackendInfoOne VDCreate VDDestroy VDGetFormat VDOpen VDCreateBase VDCreateDiff VDMerge VDCopy VDCompact VDClose VDCloseAll
        VDRead VDWrite VDFlush VDGetCount VDIsReadOnly VDGetSize VDGetFileSize VDGetPCHSGeometry VDSetPCHSGeometry VDGetLCHSGeometry VDSetLCHSGeometry VDGetVersion
        VDBackendInfoSingle VDGetImageFlags VDGetOpenFlags VDSetOpenFlags VDGetFilename VDGetComment VDSetComment VDGetUuid VDSetUuid VDGetModificationUuid
        VDSetModificationUuid VDGetParentUuid VDSetParentUuid VDDumpImages VDImageIsAsyncIOSupported VDAsyncRead VDAsyncWrite VDAsyncFlush
        VBOXHDDRAW VBOXHDDRAWPARTDESC
        VDINTERFACETYPE_ERROR VDINTERFACETYPE_ASYNCIO VDINTERFACETYPE_PROGRESS VDINTERFACETYPE_CONFIG VDINTERFACETYPE_TCPNET VDINTERFACETYPE_PARENTSTATE
        VDINTERFACETYPE_THREADSYNC VDINTERFACETYPE_IO
        VD_OPEN_FLAGS_NORMAL VD_OPEN_FLAGS_READONLY VD_OPEN_FLAGS_HONOR_ZEROES VD_OPEN_FLAGS_HONOR_SAME VD_OPEN_FLAGS_INFO VD_OPEN_FLAGS_ASYNC_IO
        VD_IMAGE_FLAGS_NONE VD_IMAGE_FLAGS_DEFAULT VD_IMAGE_FLAGS_FIXED VD_IMAGE_FLAGS_DIFF VD_VMDK_IMAGE_FLAGS_SPLIT_2G VD_VMDK_IMAGE_FLAGS_RAWDISK
        VD_VMDK_IMAGE_FLAGS_STREAM_OPTIMIZED VD_VMDK_IMAGE_FLAGS_ESX VD_VDI_IMAGE_FLAGS_ZERO_EXPAND
        VD_CAP_UUID VD_CAP_CREATE_FIXED VD_CAP_CREATE_DYNAMIC VD_CAP_CREATE_SPLIT_2G VD_CAP_DIFF VD_CAP_ASYNC VD_CAP_FILE VD_CAP_CONFIG VD_CAP_TCPNET
        VINF_SUCCESS VERR_VD_ASYNC_IO_IN_PROGRESS VERR_BUFFER_OVERFLOW VERR_NO_MEMORY VERR_INVALID_PARAMETER VERR_NOT_FOUND VERR_NOT_SUPPORTED VERR_VD_NOT_OPENED
        VERR_VD_IMAGE_NOT_FOUND VERR_VD_IMAGE_READ_ONLY VERR_VD_GEOMETRY_NOT_SET VERR_CFGM_VALUE_NOT_FOUND VERR_CFGM_NO_PARENT VERR_CFGM_NOT_ENOUGH_SPACE VERR_CFGM_INTEGER_TOO_BIG
        """;

    private static readonly Lazy<string> Root = new(FindRoot);

    private static readonly Lazy<IReadOnlyList<Row>> Rows = new(() => [.. Read(File.ReadAllText(Path.Combine(Root.Value, "src/BlockMount.Core/VBOXHDD.md")))]);

    [Fact]
    public void Every_name_of_the_header_has_one_row()
    {
        var named = Rows.Value.Select(static r => r.Name).ToList();
        Assert.Equal([], Header.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Except(named));
        Assert.Equal([], named.GroupBy(static n => n).Where(static g => g.Count() > 1).Select(static g => g.Key));
    }

    [Fact]
    public void Every_row_names_members_that_there_are_or_says_that_it_is_not_built()
    {
        var types = typeof(ImageFormat).Assembly.GetExportedTypes().ToLookup(static t => t.Name, StringComparer.Ordinal);
        foreach (var row in Rows.Value)
        {
            if (row.Here == NotYet)
            {
                Assert.Contains("TCPNET", row.Name, StringComparison.Ordinal);
                continue;
            }

            var members = Words(row.Here);
            Assert.True(members.Count > 0, $"{row.Name} names no member");
            Assert.All(members, m => Assert.True(Exists(types, m), $"{row.Name}: there is no {m}"));
        }
    }

    [Fact]
    public void Every_row_names_tests_that_there_are()
    {
        var own = typeof(VBoxHddPageTests).Assembly.GetTypes().Where(static t => t.Name.EndsWith("Tests", StringComparison.Ordinal)).ToLookup(static t => t.Name, StringComparer.Ordinal);
        var others = new[] { "BlockMount.Host.Tests", "BlockMount.Platform.Tests" }
            .SelectMany(p => Directory.GetFiles(Path.Combine(Root.Value, "tests", p), "*Tests.cs", SearchOption.AllDirectories)).ToLookup(static f => Path.GetFileNameWithoutExtension(f)!, File.ReadAllText);
        foreach (var row in Rows.Value)
        {
            var tests = Words(row.Tests);
            Assert.True(tests.Count > 0, $"{row.Name} names no test");
            foreach (var (test, type, method) in tests.Select(static t => (t, t.Split('.')[0], t.Split('.').ElementAtOrDefault(1))))
            {
                Assert.True(
                    own[type].Any(t => t.GetMethods().Any(m => m.GetCustomAttributes<FactAttribute>().Any() && (method is null || m.Name == method)))
                    || others[type].Any(text => text.Contains($"class {type} ", StringComparison.Ordinal) && (method is null || text.Contains($" {method}(", StringComparison.Ordinal))),
                    $"{row.Name}: there is no test {test}");
            }
        }
    }

    private static bool Exists(ILookup<string, Type> types, string name)
    {
        var parts = name.Split('.');
        return parts.Length <= 2 && types[parts[0]].Any(t => parts.Length == 1
            || t.GetMember(parts[1], BindingFlags.Public | BindingFlags.Instance | BindingFlags.Static | BindingFlags.FlattenHierarchy).Length > 0);
    }

    /// <summary>What stands between backticks.</summary>
    private static List<string> Words(string cell) => cell.Split('`').Where(static (_, i) => i % 2 == 1).ToList();

    private static IEnumerable<Row> Read(string page)
    {
        foreach (var line in page.Split('\n').Where(static l => l.StartsWith("| `", StringComparison.Ordinal)))
        {
            var cells = line.Trim('|').Split('|', StringSplitOptions.TrimEntries);
            Assert.True(cells.Length == 4, $"not four cells: {line}");
            yield return new Row(cells[0].Trim('`', ' '), cells[1], cells[3]);
        }
    }

    private static string FindRoot()
    {
        for (var folder = AppContext.BaseDirectory; folder is not null; folder = Path.GetDirectoryName(folder))
        {
            if (File.Exists(Path.Combine(folder, "BlockMount.sln")))
            {
                return folder;
            }
        }

        throw new InvalidOperationException("These tests run inside the source tree.");
    }

    private sealed record Row(string Name, string Here, string Tests);
}
