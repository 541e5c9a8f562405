// OCA's style. The plugin is found through NODE_PATH: see dev/lib/node.sh.
module.exports = {
    plugins: [require.resolve("@prettier/plugin-xml")],
    bracketSpacing: false,
    printWidth: 88,
    proseWrap: "always",
    semi: true,
    tabWidth: 4,
    trailingComma: "es5",
    xmlWhitespaceSensitivity: "preserve",
    overrides: [{files: ["*.json", "*.yml", "*.yaml"], options: {tabWidth: 2}}],
};
