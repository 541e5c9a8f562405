import {CharField, charField} from "@web/views/fields/char/char_field";
import {_t} from "@web/core/l10n/translation";
import {registry} from "@web/core/registry";
import {useEffect} from "@odoo/owl";

/**
 * A secret that reads back as a mask. Entering the field selects the mask, so that
 * what is typed or pasted replaces it instead of being added to it.
 */
export class TokenField extends CharField {
    setup() {
        super.setup();
        useEffect(
            (input) => {
                if (!input) {
                    return;
                }
                const select = () => input.select();
                // The click that gives the focus would undo the selection.
                input.addEventListener("focus", select);
                input.addEventListener("mouseup", select);
                return () => {
                    input.removeEventListener("focus", select);
                    input.removeEventListener("mouseup", select);
                };
            },
            () => [this.input.el]
        );
    }
}

registry.category("fields").add("ha_token", {
    ...charField,
    component: TokenField,
    displayName: _t("Access Token"),
    extractProps: (fieldInfo, dynamicInfo) => ({
        ...charField.extractProps(fieldInfo, dynamicInfo),
        isPassword: true,
    }),
});
