using System.Reflection;

namespace BlockMount.Host.Tests;

/// <summary>The arrows of src/ARCHITECTURE.md.</summary>
public sealed class ArchitectureTests
{
    [Theory]
    [InlineData("BlockMount.Core", "")]
    [InlineData("BlockMount.Platform", "BlockMount.Core")]
    [InlineData("BlockMount.Nbd", "BlockMount.Core")]
    [InlineData("BlockMount.Attach", "BlockMount.Core BlockMount.Platform")]
    public void An_assembly_refers_only_to_what_lies_below_it(string assembly, string allowed)
    {
        var references = Assembly.Load(assembly).GetReferencedAssemblies().Select(r => r.Name!).Where(n => n.StartsWith("BlockMount", StringComparison.Ordinal));

        Assert.Equal(allowed.Split(' ', StringSplitOptions.RemoveEmptyEntries), references.Order(StringComparer.Ordinal));
    }

    [Theory]
    [InlineData("BlockMount.Core", false)]
    [InlineData("BlockMount.Nbd", false)]
    [InlineData("BlockMount.Attach", false)]
    [InlineData("blockmount", false)]
    [InlineData("BlockMount.Platform", true)]
    public void Only_platform_imports_native_functions(string assembly, bool imports)
    {
        const BindingFlags all = BindingFlags.Static | BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.DeclaredOnly;
        var native = Assembly.Load(assembly).GetTypes().SelectMany(t => t.GetMethods(all)).Where(m => m.Attributes.HasFlag(MethodAttributes.PinvokeImpl));

        Assert.Equal(imports, native.Any());
    }

    [Fact]
    public void No_front_end_sees_a_format()
    {
        foreach (var name in new[] { "BlockMount.Nbd", "BlockMount.Attach" })
        {
            var assembly = Assembly.Load(name);
            var seen = assembly.GetTypes()
                .SelectMany(t => t.GetFields(BindingFlags.Static | BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic).Select(f => f.FieldType))
                .Where(t => t.Namespace is "BlockMount.Core.Chain" || t.Namespace?.StartsWith("BlockMount.Core.Formats", StringComparison.Ordinal) == true);

            Assert.Empty(seen);
        }
    }
}
